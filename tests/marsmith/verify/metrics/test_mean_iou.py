from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.mean_iou import Runs, measure


def runs(classes: list[int], lengths: list[int]) -> Runs:
    return {"classes": classes, "lengths": lengths}


def test_it_is_the_mean_of_all_classes_over_all_images() -> None:
    answers = [runs([0, 1], [6, 2]), runs([0], [8])]
    # Of class 0: 5 + 7 shared of 6 + 8 in either; of 1: 2 of 4; of 2: none.
    expected = [[0] * 5 + [1] * 3, runs([0, 2], [7, 1])]
    expected_iou = (12 / 14 + 2 / 3 + 0) / 3
    assert measure(answers, expected) == pytest.approx(expected_iou)


def test_equal_images_are_one() -> None:
    answers = [runs([3, 255], [1, 4])]
    assert measure(answers, answers) == 1


def test_a_class_that_is_nowhere_to_be_seen_costs_when_it_is_answered() -> None:
    assert measure([runs([0, 9], [3, 1])], [[0, 0, 0, 0]]) == pytest.approx(0.75 / 2)


@pytest.mark.parametrize(
    "expected",
    [[0, 0], [[0]], [0.0, 1.0, 0.0], "000", {"classes": [0]}, {"classes": [0, 1], "lengths": [3]},
     [0, 0, 256], [0, 0, -1], {"classes": [0], "lengths": [-3]}],
)  # fmt: skip
def test_what_is_no_image_of_that_size_is_refused(expected: object) -> None:
    with pytest.raises(BuildError):
        measure([runs([0], [3])], [expected])
