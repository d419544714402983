from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.mean_average_precision import Find, measure

HERE, THERE, NOWHERE = [0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]


def find(label: str, box: list[int], score: float = 1.0) -> Find:
    return {"label": label, "score": score, "box": box}


def test_all_found_and_nothing_else_is_one() -> None:
    expected = [[find("a", HERE), find("b", THERE)], [], [find("a", THERE)]]
    assert measure(expected, expected) == 1
    assert measure([[], [], []], expected) == 0


def test_it_is_the_area_under_precision_and_recall() -> None:
    expected = [[find("a", HERE), find("a", THERE)], [find("a", HERE)]]
    answers = [
        [find("a", HERE, 0.9), find("a", NOWHERE, 0.8), find("a", THERE, 0.7)],
        [find("a", NOWHERE, 0.6)],
    ]
    # Of three, the first at a precision of 1, the second at 2 of 3; the third is never found.
    assert measure(answers, expected) == pytest.approx((1 + 2 / 3) / 3)


def test_precision_is_the_best_at_any_higher_recall() -> None:
    expected = [[find("a", HERE), find("a", THERE)]]
    answers = [[find("a", NOWHERE, 0.9), find("a", HERE, 0.8), find("a", THERE, 0.7)]]
    assert measure(answers, expected) == pytest.approx(2 / 3)  # not (1 / 2 + 2 / 3) / 2


@pytest.mark.parametrize(
    ("box", "score"), [([0, 0, 10, 5], 1.0), ([0, 0, 10, 4], 0.0), ([5, 0, 15, 10], 0.0)]
)
def test_a_box_must_overlap_by_a_half(box: list[int], score: float) -> None:
    assert measure([[find("a", box)]], [[find("a", HERE)]]) == score


def test_what_is_found_twice_is_wrong_once() -> None:
    answers = [[find("a", HERE, 0.9), find("a", HERE, 0.8), find("a", THERE, 0.7)]]
    expected = [[find("a", HERE), find("a", THERE)]]
    assert measure(answers, expected) == pytest.approx((1 + 2 / 3) / 2)


def test_labels_count_equally_and_only_where_they_are_expected() -> None:
    expected = [[find("a", HERE)], [find("b", HERE)], [find("b", HERE)]]
    answers = [[find("a", HERE)], [find("c", HERE)], [find("a", HERE, 0.5)]]
    assert measure(answers, expected) == pytest.approx((1 + 0) / 2)


@pytest.mark.parametrize("expected", [[["a"]], [[{"label": "a"}]], ["a"], [7], [[]]])
def test_what_is_no_list_of_boxes_is_refused(expected: list[object]) -> None:
    with pytest.raises(BuildError):
        measure([[find("a", HERE)]], expected)  # type: ignore[arg-type]
