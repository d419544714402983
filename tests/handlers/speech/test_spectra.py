"""Spectra are those of transformers' feature extractors, whose own code is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from handlers.speech import spectra
from tests.support.audio import wave

QUIET = 10.0 ** -np.arange(5)


def sounds() -> list[Any]:
    """Loud and quiet, of several lengths; a pure tone, and a click in silence."""
    found = [wave(400 + 777 * seed, seed) * loud for seed, loud in enumerate(QUIET)]
    click = np.zeros(3000, np.float32)
    click[1234] = 1
    tone = np.sin(np.arange(5000) / 3).astype(np.float32)
    return [each.astype(np.float32) for each in (*found, click, tone, np.zeros(2000))]


@pytest.mark.parametrize(("rate", "bands"), [(16000, 128), (16000, 64), (8000, 40), (22050, 80)])
@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_kaldis_are_asts(rate: int, bands: int) -> None:
    from transformers import ASTFeatureExtractor

    extract = ASTFeatureExtractor(sampling_rate=rate, num_mel_bins=bands, do_normalize=False)
    for sound in sounds():
        own = spectra.kaldi(torch.from_numpy(sound), rate, bands)
        (whole,) = extract(sound, sampling_rate=rate, return_tensors="pt")["input_values"]
        assert not whole[len(own) :].any()
        torch.testing.assert_close(own, whole[: len(own)], atol=2e-5, rtol=0)


@pytest.mark.parametrize("bands", [80, 128])
def test_whispers_are_whispers(bands: int) -> None:
    from transformers import WhisperFeatureExtractor

    extract = WhisperFeatureExtractor(feature_size=bands, chunk_length=1)
    for sound in sounds():
        padded = np.pad(sound, (0, 16000 - len(sound)))
        (whole,) = extract(sound, sampling_rate=16000, return_tensors="pt")["input_features"]
        own = spectra.whisper(torch.from_numpy(padded), 16000, bands)
        torch.testing.assert_close(own, whole.T, atol=2e-5, rtol=0)


def test_what_is_shorter_than_a_spectrum_has_none() -> None:
    assert spectra.kaldi(torch.zeros(399), 16000, 9).shape == (0, 9)
    assert spectra.kaldi(torch.zeros(400), 16000, 9).shape == (1, 9)
