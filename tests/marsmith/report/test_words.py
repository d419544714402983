from __future__ import annotations

import math
from typing import Any

import pytest

from marsmith.report.words import facts, fixed, megabytes, metric_name, number, times, told


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"), (math.nan, "not a number"), (math.inf, "∞"), (-math.inf, "-∞"), (0.0, "0"),
        (2.384185791015625e-06, "2.38e-6"), (0.0905, "0.0905"), (26.0, "26.0"), (99.96, "100"),
        (999.6, "1,000"), (46802.92, "46,803"), (1e16, "10,000,000,000,000,000"), (360, "360"),
    ],
)  # fmt: skip
def test_a_figure_has_three_digits(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_each_kind_of_figure_has_its_form() -> None:
    assert (fixed(0.99), fixed(1.0), fixed(None), fixed(math.nan)) == (
        "0.9900", "1.0000", "–", "not a number",
    )  # fmt: skip
    assert (times(0.887), times(7.487), times(12.34), times(None)) == ("0.89", "7.49", "12.3", "–")
    assert (megabytes(43_002), megabytes(25_800_000), megabytes(None)) == ("0.043", "25.8", "–")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.005, "0.005"), (1e-4, "0.0001"), (True, "yes"), ("", "–"), ([1, 3, 16], "1, 3, 16"),
     ("2.13.0+cpu", "2.13.0+cpu"), (25_557_032, "25,557,032"), (math.inf, "∞")],
)  # fmt: skip
def test_a_setting_is_told_as_it_is(value: Any, shown: str) -> None:
    assert told(value) == shown


def test_before_and_after_stand_side_by_side() -> None:
    given = {
        "pass": "x",
        "before": {"macs": 4000},
        "after": {"macs": 1000, "new": 1},
        "on": {"a": 2},
    }
    assert list(facts(given)) == [
        ("pass", "x"), ("on a", "2"), ("macs", "4,000 → 1,000"), ("new", "– → 1"),
    ]  # fmt: skip
    assert list(facts({"before": 1, "after": 2})) == [("before", "1"), ("after", "2")]


def test_a_metric_has_a_name_for_people() -> None:
    assert metric_name("my.metrics:recall_at_10") == "recall at 10"
    assert metric_name(None) == "metric"
