"""How much of a sound is right."""

from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.waveform_fit import measure


@pytest.mark.parametrize(
    ("said", "expected", "fit"),
    [
        ([0.5, -0.5], [0.5, -0.5], 1),
        ([0.5], [0.5, -0.5], 0.5),
        ([0.5, -0.5, 1.0], [0.5, -0.5], -1),
        ([], [0.5, -0.5], 0),
        ([0.45, -0.45], [0.5, -0.5], 0.99),
    ],
)
def test_it_compares_power(said: list[float], expected: list[float], fit: float) -> None:
    assert measure([{"samples": said}], [expected]) == pytest.approx(fit)
    both = measure([{"samples": said}, {"samples": [0.3]}], [expected, [0.3]])
    assert both == pytest.approx((fit + 1) / 2)


@pytest.mark.parametrize("expected", [[], [0.0], "a text", [[0.5]], 7])
def test_without_sound_to_expect_there_is_nothing_to_measure(expected: object) -> None:
    with pytest.raises(BuildError, match="must be samples"):
        measure([{"samples": [0.5]}], [expected])  # type: ignore[list-item]
