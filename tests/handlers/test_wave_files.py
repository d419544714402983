"""Sound as bytes, as Python's own reader of WAV files reads it."""

from __future__ import annotations

import io
import wave

import numpy as np

from handlers import wave_files


def test_a_file_is_read_as_it_was_made() -> None:
    samples = [0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0]
    data = wave_files.wav(samples, 22_050)
    with wave.open(io.BytesIO(data)) as opened:
        assert opened.getparams()[:4] == (1, 2, 22_050, 7)
        found = np.frombuffer(opened.readframes(9), "<i2")
    assert found.tolist() == [0, 16384, -16384, 32767, -32767, 32767, -32767]
    assert data == wave_files.header(22_050, 14) + wave_files.pcm(samples)


def test_what_has_no_samples_is_a_file_too() -> None:
    with wave.open(io.BytesIO(wave_files.wav([], 8_000))) as opened:
        assert opened.getnframes() == 0
