"""Encoded images of every format and mode that is read."""

from __future__ import annotations

import base64
import json
import random

from PIL import Image

from tests.fuzz import messages
from tests.fuzz.messages import message
from tests.support.images import encode, noise, run_length_bmp

WORKERS = ("image_classification", "image_embedding", "semantic_segmentation")
ORIENTATION = 0x0112


def seeds() -> list[bytes]:
    image, exif = noise(20, 15, "RGB"), Image.Exif()
    exif[ORIENTATION] = 6
    grey16 = Image.new("I;16", (9, 7), 300)
    files = [encode(image.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")]
    files += [encode(image.convert("P"), "PNG", transparency=3), encode(grey16, "PNG")]
    files += [encode(image, "PNG", exif=exif), encode(image, "JPEG", exif=exif, quality=40)]
    files += [encode(image.convert("CMYK"), "JPEG"), encode(image.convert("L"), "JPEG")]
    files += [encode(image, "JPEG", progressive=True), encode(image, "MPO")]
    files += [encode(image, "WEBP"), encode(image.convert("RGBA"), "WEBP", lossless=True)]
    files += [encode(image, "WEBP", save_all=True, append_images=[image.rotate(9)])]
    files += [encode(image.convert(mode), "BMP") for mode in ("1", "L", "RGB")]
    files += [run_length_bmp(9, 7), encode(image, "GIF", transparency=2)]
    files += [encode(image, "GIF", save_all=True, append_images=[image.rotate(9)])]
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        files.append(encode(image, "TIFF", compression=compression))
    files += [encode(image.convert(m), "TIFF") for m in ("1", "CMYK", "RGBA")]
    files += [encode(grey16, "TIFF"), encode(image.convert("1"), "TIFF", compression="group4")]
    found = [message(WORKERS[n % len(WORKERS)], file) for n, file in enumerate(files)]
    text = base64.b64encode(files[1]).decode()
    body = json.dumps({"instances": [{"b64": text}, [[[1, 2], [3, 4]]] * 3]}).encode()
    found.append(message("image_embedding", body, "application/json"))
    tensor = {"name": "x", "shape": [1, 2, 2], "datatype": "UINT8", "data": [1, 2, 3, 4]}
    body = json.dumps({"inputs": [tensor]}).encode()
    return [
        *found,
        message("semantic_segmentation", body, "application/json"),
        message("semantic_segmentation", files[4], accept="image/png"),
    ]


def run(data: bytes) -> None:
    messages.run(data, WORKERS)


def mutate(data: bytes, random_: random.Random) -> bytes:
    return messages.mutate(data, random_)
