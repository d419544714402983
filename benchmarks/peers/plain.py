"""What a user would write around an OpenVINO model of images, without any of ours."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)

Answer = list[dict[str, float | int]]


class Plain:
    """A classifier of JPEG and PNG images: the five likeliest classes.

    Args:
        path: an OpenVINO `.xml`; by default the environment's PEER_MODEL.
        threads: of each inference; by default the environment's PEER_THREADS.
    """

    def __init__(self, path: Path | None = None, threads: int | None = None) -> None:
        import openvino

        threads = threads or int(os.environ["PEER_THREADS"])
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        settings |= {"ENABLE_CPU_PINNING": False}
        file = str(path or os.environ["PEER_MODEL"])
        self.model = openvino.Core().compile_model(file, "CPU", settings)

    def decode(self, body: bytes) -> np.ndarray:
        """One image as [3, 224, 224], float32: resized, cropped in the middle, normalised."""
        image = Image.open(io.BytesIO(body)).convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), 2)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
        return np.ascontiguousarray(((pixels / 255 - MEAN) / STD).transpose(2, 0, 1))

    def answer(self, images: Sequence[np.ndarray]) -> list[Answer]:
        """The answers to decoded images, in one batch."""
        logits = self.model(np.stack(images))[0]
        odds = np.exp(logits - logits.max(1, keepdims=True))
        shares = odds / odds.sum(1, keepdims=True)
        best = np.argsort(-shares, 1)[:, :5]
        return [
            [{"class": int(place), "score": float(row[place])} for place in places]
            for row, places in zip(shares, best, strict=True)
        ]
