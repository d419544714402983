"""Encoded images for tests, good and bad."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """An image as bytes."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(width: int = 8, height: int = 8, mode: str = "L", seed: int = 0) -> Image.Image:
    """Random pixels."""
    generator = np.random.default_rng(seed)
    shape = (height, width) if mode == "L" else (height, width, 3)
    image = Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8))
    return image if mode in ("L", "RGB") else image.convert(mode)


def png_header(width: int, height: int) -> bytes:
    """A PNG of 8-bit grey that says how large it is and has hardly any pixels: 70 bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\x00" * 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
