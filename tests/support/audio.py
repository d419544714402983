"""Sounds to send: a tone of chance, in any format."""

from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import soundfile

FORMATS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_U8"), ("FLAC", "PCM_16")]
FORMATS += [("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("AIFF", "PCM_16"), ("MP3", "MPEG_LAYER_III")]
RATES = [8000, 16000, 22050, 44100, 48000]


def wave(samples: int, seed: int = 0) -> Any:
    """(samples,) float32 in [-1, 1]: a few tones and noise."""
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / 16000
    tones = (np.sin(time * hertz * 6) for hertz in generator.uniform(50, 3000, 3))
    return (sum(tones) * 0.2 + generator.normal(0, 0.05, samples)).clip(-1, 1).astype(np.float32)


def encode(samples: Any, rate: int, form: str = "WAV", subtype: str | None = None) -> bytes:
    """A file of (S,) or (S, channels) samples."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def recording(random_: random.Random, *, mp3: bool = True) -> bytes:
    """A file of any format, rate, length and number of channels."""
    form, subtype = random_.choice(FORMATS if mp3 else FORMATS[:-1])
    rate = random_.choice(RATES)
    samples = wave(random_.randint(1, rate), random_.randrange(10**6))
    channels = random_.choice([1, 1, 2]) if form == "MP3" else random_.choice([1, 1, 2, 6])
    return encode(np.stack([samples] * channels, axis=1), rate, form, subtype)
