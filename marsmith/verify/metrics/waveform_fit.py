"""How much of the sound is right: of `speech_synthesis`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from marsmith.errors import BuildError


class SpokenWaveform(TypedDict):
    """What is read of an answer."""

    samples: list[float]


def measure(answers: Sequence[SpokenWaveform], expected: Sequence[Sequence[float]]) -> float:
    """1 - (power of the difference) ÷ (power of what is expected), averaged over all texts.

    0.99 is a signal-to-noise ratio of 20 dB. What is missing, or too much, counts as silence.

    Args:
        answers: with `samples`.
        expected: the samples of each text, in [-1, 1], at the model's rate.

    Returns:
        At most 1; 0 for silence, and below for what is louder than the sound.

    Raises:
        BuildError: the expected answers are not samples, or silence.
    """
    found = []
    for answer, wanted in zip(answers, expected, strict=True):
        try:
            right = np.asarray(wanted, np.float64)
        except (TypeError, ValueError):
            right = np.zeros(0)
        if right.ndim != 1 or not np.square(right).sum() > 0:
            raise BuildError("waveform_fit compares sound: the expected answers must be samples")
        said = np.asarray(answer["samples"], np.float64)
        size = max(len(said), len(right))
        said, right = (np.pad(each, (0, size - len(each))) for each in (said, right))
        found.append(1 - np.square(said - right).sum() / np.square(right).sum())
    return float(np.mean(found))
