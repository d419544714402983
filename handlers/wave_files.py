"""Sound as bytes: 16-bit PCM, alone and in a WAV file."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

WAV, PCM = "audio/wav", "audio/pcm"
FULL = 32767  # the largest of 16 bits
HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
UNKNOWN = 0xFFFFFFFF  # the length of what is still being made, as programs that write pipes say it


def pcm(samples: Sequence[float]) -> bytes:
    """Samples in [-1, 1] as signed 16-bit integers, little-endian; louder ones are cut."""
    scaled = np.asarray(samples, np.float64).clip(-1, 1) * FULL
    data: bytes = np.rint(scaled).astype("<i2").tobytes()
    return data


def header(rate: int, size: int | None = None) -> bytes:
    """The beginning of a WAV file of one channel, 16 bits a sample.

    Args:
        rate: samples per second.
        size: the bytes of the samples that follow; None where it isn't known yet.

    See: http://soundfile.sapp.org/doc/WaveFormat/.
    """
    total, data = (UNKNOWN, UNKNOWN) if size is None else (36 + size, size)
    head = (b"RIFF", total, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", data)
    return HEADER.pack(*head)


def wav(samples: Sequence[float], rate: int) -> bytes:
    """A WAV file of samples in [-1, 1].

    Args:
        samples: of one channel.
        rate: samples per second.
    """
    data = pcm(samples)
    return header(rate, len(data)) + data
