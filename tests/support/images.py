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


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def blank_png(width: int, height: int, *, depth: int = 8, colour: int = 0) -> bytes:
    """A whole, valid PNG of one colour, however large: some kilobytes.

    Args:
        width: in pixels.
        height: in pixels.
        depth: bits of each channel.
        colour: PNG's colour type: 0 is grey, 2 RGB, 6 RGB with alpha.
    """
    row = bytes(1 + (width * depth * {0: 1, 2: 3, 6: 4}[colour] + 7) // 8)
    packer = zlib.compressobj(1)
    rows = max(1, 1_000_000 // len(row))
    parts = [packer.compress(row * min(rows, height - start)) for start in range(0, height, rows)]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            png_chunk(b"IHDR", header),
            png_chunk(b"IDAT", b"".join([*parts, packer.flush()])),
            png_chunk(b"IEND", b""),
        ]
    )


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG of 64 by 64 pixels whose last scan comes again and again."""
    data = encode(noise(64, 64, "RGB"), "JPEG", progressive=True)
    start, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:start] + data[start:end] * (count - data.count(b"\xff\xda") + 1) + data[end:]


def run_length_bmp(width: int, height: int) -> bytes:
    """A BMP of run lengths, each line of which ends after its first pixel."""
    body = b"\x01\x01\x00\x00" * height + b"\x00\x01"
    palette = b"".join(bytes([grey, grey, grey, 0]) for grey in range(256))
    start = 14 + 40 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + header + palette + body
