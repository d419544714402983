from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.recall_at_10 import Items, measure


def test_it_counts_what_is_among_the_first_ten() -> None:
    answers: list[Items] = [{"items": list(range(12))}, {"items": ["a", "b"]}, {"items": []}]
    assert measure(answers, [[9, 10], ["b"], ["c"]]) == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_an_id_and_its_text_are_one_item() -> None:
    assert measure([{"items": [5]}], [("5", 5)]) == 1


@pytest.mark.parametrize("wrong", ["ab", 5, [], None])
def test_what_is_no_list_of_ids_is_refused(wrong: object) -> None:
    with pytest.raises(BuildError, match="a list of ids"):
        measure([{"items": ["a"]}], [wrong])  # type: ignore[list-item]
