from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.top_5_accuracy import measure

SIX = dict.fromkeys("abcdef", 1 / 6)


def test_it_counts_a_right_label_among_the_first_five() -> None:
    assert measure([SIX, SIX, SIX, SIX], ["a", "e", "f", "x"]) == 0.5


def test_several_labels_may_be_right_and_what_has_none_is_not_counted() -> None:
    assert measure([SIX, SIX, SIX], [["x", "b"], [], ["x", "f"]]) == 0.5


@pytest.mark.parametrize("wrong", [[5], [None], [[1]], [[]], [[], []]])
def test_what_is_no_label_is_refused(wrong: list[object]) -> None:
    with pytest.raises(BuildError, match="top_5_accuracy"):
        measure([SIX] * len(wrong), wrong)  # type: ignore[arg-type]
