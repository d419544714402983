"""Recordings of every format that is read, and samples as numbers."""

from __future__ import annotations

import json
import random

import numpy as np

from tests.fuzz import messages
from tests.fuzz.messages import message
from tests.support.audio import FORMATS, encode, wave

WORKERS = ("audio_classification",)


def seeds() -> list[bytes]:
    samples = wave(700)
    found = [_to(encode(samples, 8000, form, subtype)) for form, subtype in FORMATS]
    found += [_to(encode(np.stack([samples] * 2, axis=1), 44_100, "WAV", "PCM_24"))]
    found += [_to(encode(samples, 8000, "WAV", kind)) for kind in ("ULAW", "IMA_ADPCM", "GSM610")]
    found += [_to(encode(samples, 8000, "RF64")), _to(encode(samples, 8000, "WAVEX", "DOUBLE"))]
    numbers = {"data": samples[:50].tolist(), "parameters": {"sample_rate": 16_000, "top_k": 2}}
    tensor = {"name": "x", "shape": [1, 4], "datatype": "INT16", "data": [1, -2, 300, -32_768]}
    bodies = [numbers, {"instances": [[0.5, -0.5], [0.0]]}, {"inputs": [tensor]}]
    return found + [_to(json.dumps(body).encode(), "application/json") for body in bodies]


def _to(body: bytes, media_type: str = "-") -> bytes:
    return message("audio_classification", body, media_type)


def run(data: bytes) -> None:
    messages.run(data, WORKERS)


def mutate(data: bytes, random_: random.Random) -> bytes:
    return messages.mutate(data, random_)
