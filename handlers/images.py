"""Decoding that image tasks share: bytes -> PIL -> tensors, with PIL and numpy only."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from handlers.errors import BadRequest

# Only raster formats whose decoders are pure library code; PIL would also start Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
Size = int | tuple[int, int] | None


def open_image(data: bytes, *, max_pixels: int) -> Image.Image:
    """Read an image's header, check it, then decode it.

    Args:
        data: an encoded image.
        max_pixels: the largest width × height; checked before any pixel is decoded.

    Raises:
        BadRequest: 415 for what is not an image of a known format, 413 for too large a one,
            400 for a damaged one.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise BadRequest(
            "the body is not an image that can be read",
            hint=f"send one of {', '.join(FORMATS)}",
            status=415,
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(max_pixels) from None
    except Exception:  # a decoder may raise anything on hostile bytes: all of it is the client's
        raise BadRequest("the image's header is damaged") from None
    if image.width * image.height > max_pixels:
        raise _too_large(max_pixels)
    try:
        image.load()
    except Exception:  # as above
        raise BadRequest("the image is damaged or incomplete") from None
    return image


def _too_large(max_pixels: int) -> BadRequest:
    return BadRequest(
        f"the image is larger than {max_pixels} pixels", hint="send a smaller one", status=413
    )


def to_mode(image: Image.Image, *, greyscale: bool) -> Image.Image:
    """As 8-bit "RGB", or "L" for greyscale; 16-bit greyscale is scaled, not clipped."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("L" if greyscale else "RGB")


def resize(image: Image.Image, size: Size, interpolation: str) -> Image.Image:
    """To (height, width), or so that the shorter side is `size`; as it is when None."""
    if size is None:
        return image
    if isinstance(size, int):
        scale = size / min(image.size)
        width, height = max(size, int(image.width * scale)), max(size, int(image.height * scale))
    else:
        height, width = size
    if image.size == (width, height):
        return image
    return image.resize((width, height), RESAMPLING[interpolation])


def center_crop(image: Image.Image, size: Size) -> Image.Image:
    """The middle (height, width), or square; black where the image is smaller."""
    if size is None:
        return image
    height, width = (size, size) if isinstance(size, int) else size
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def to_tensor(image: Image.Image) -> torch.Tensor:
    """Pixels as (C, H, W) uint8 in [0, 255]; C is 3, or 1 for greyscale."""
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()


def normalise(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Pixels to a model's input.

    Args:
        pixels: (N, C, H, W) uint8 in [0, 255].
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].

    Returns:
        (N, C, H, W) float32, (pixels / 255 - mean) / std.
    """
    shape = (1, -1, 1, 1)
    scale = torch.tensor([1 / (255 * deviation) for deviation in std]).view(shape)
    shift = torch.tensor([m / deviation for m, deviation in zip(mean, std, strict=True)])
    return pixels.to(torch.float32).mul_(scale).sub_(shift.view(shape))
