"""Frames are those that transformers' feature extractor of Whisper makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from handlers.speech.log_mel import LogMel, filters
from tests.support.audio import wave


@pytest.mark.parametrize("bands", [20, 80, 128])
def test_frames_are_those_of_transformers(bands: int) -> None:
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=bands, chunk_length=2)
    form = LogMel(16_000, bands, 400, 160)
    assert np.abs(filters(form).numpy().T - extractor.mel_filters).max() < 1e-7
    sounds: list[Any] = [wave(32_000), np.zeros(32_000, np.float32), wave(32_000, 3) * 1e-3]
    for sound in sounds:
        wanted = extractor(sound, sampling_rate=16_000, return_tensors="pt")["input_features"][0]
        found = form(torch.from_numpy(sound))
        assert found.shape == (bands, 200)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
