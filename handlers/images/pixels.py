"""Shared by image tasks: decode bytes to images and tensors, with PIL and numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from handlers.errors import BadRequest
from handlers.images import opencv
from handlers.images.limits import FORMATS, Limits, check, open_header, too_large

# PIL's modes of 8 bits or fewer. Others have no agreed white, or no way to RGB ("LAB").
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
Interpolation = Literal[
    "nearest", "bilinear", "bicubic", "lanczos", "box", "hamming", "opencv_linear", "opencv_area"
]
RESAMPLING: dict[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
ORIENTATION = 0x0112  # of EXIF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
GREY = 114  # of letterboxes; what the YOLO family is trained with
Size = int | tuple[int, int] | None


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the model's input.

    Attributes:
        size: the original's (width, height).
        inner: the (width, height) that it was resized to.
        left: the image's first column in the model's input; negative where it was cropped.
        top: its first row, likewise.
    """

    size: tuple[int, int]
    inner: tuple[int, int]
    left: int = 0
    top: int = 0

    def to_original(self, boxes: torch.Tensor) -> torch.Tensor:
        """Convert boxes in pixels of the model's input to pixels of the original, within its edges.

        Args:
            boxes: (K, 4) float32: left, top, right, bottom.
        """
        offset = torch.tensor([self.left, self.top] * 2, dtype=torch.float32)
        edges = torch.tensor(self.size * 2, dtype=torch.float32)
        scale = edges / torch.tensor(self.inner * 2, dtype=torch.float32)
        return ((boxes - offset) * scale).clamp(min=torch.zeros(4), max=edges)

    def covered(self, width: int, height: int) -> list[float]:
        """What the model's input covers of the original: left, top, right, bottom, in its pixels.

        A letterbox's ground lies beyond the original's edges.

        Args:
            width: of the model's input.
            height: likewise.
        """
        across, down = (whole / part for whole, part in zip(self.size, self.inner, strict=True))
        left, top = -self.left * across, -self.top * down
        return [left, top, left + width * across, top + height * down]


def open_image(data: bytes, limits: Limits) -> Image.Image:
    """Read an image's header, check it, then decode it; of many frames the first.

    Args:
        data: an encoded image.
        limits: what it may cost; checked before any pixel is decoded.

    Raises:
        BadRequest: 415 for what is not an image of a known format, 413 for one that would cost
            too much, 400 for a damaged one.
    """
    try:
        image = open_header(data)
        check(image, data, limits)
        image.load()
    except BadRequest:
        raise
    except UnidentifiedImageError:
        raise BadRequest(
            "the body is not an image that can be read",
            hint=f"send one of {', '.join(FORMATS)}",
            status=415,
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise too_large(limits) from None
    except Exception:  # a decoder may raise anything on hostile bytes: all of it is the client's
        raise BadRequest("the image is damaged or incomplete") from None
    return image


def to_mode(image: Image.Image, *, greyscale: bool) -> Image.Image:
    """Convert to 8-bit "RGB", or "L" for greyscale; 16-bit greyscale is scaled, not clipped.

    Transparency is dropped: what is beneath it shows.

    Raises:
        BadRequest: 415 for 32-bit pixels, and other rare ones.
    """
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode not in MODES:
        wide = "32-bit" if image.mode in ("I", "F") else image.mode
        raise BadRequest(
            f"images with {wide} pixels are not supported", hint="send 8 or 16 bits", status=415
        )
    mode = "L" if greyscale else "RGB"
    if image.mode == mode:
        return image
    image.info.pop("transparency", None)  # PIL would warn of it
    return image.convert(mode)


def upright(image: Image.Image) -> Image.Image:
    """Turn and mirror an image as its EXIF orientation says; damaged EXIF says nothing."""
    try:
        said = image.getexif().get(ORIENTATION)
    except Exception:  # PIL reads EXIF lazily, and may raise anything on hostile bytes
        return image
    turn = TURNS.get(said) if isinstance(said, int) else None
    return image if turn is None else image.transpose(turn)


def without_key(image: Image.Image) -> Image.Image:
    """Make white what has the one colour that the file says is transparent; drop other alpha.

    See: `load_image` and `convert_to_rgb` of transformers, which do so one after the other.
    """
    # A palette may have alpha for each colour, in bytes: it is dropped, as other alpha is.
    key = image.info.get("transparency")
    if image.mode not in ("P", "L", "RGB") or not isinstance(key, (int, tuple)):
        return image
    try:
        keyed = image.convert("RGB").convert("RGBA")
    except Exception:  # a file may name a colour that isn't there
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, keyed).convert("RGB")


def within(
    size: tuple[int, int], shorter: int, longer: int | None, multiple: int = 1
) -> tuple[int, int]:
    """The (width, height) of an image whose shorter side becomes `shorter`, and its longer no more.

    Args:
        size: its (width, height).
        shorter: less where the longer side would pass `longer`.
        longer: the most of the longer side; None for any.
        multiple: both sides are cut down to a multiple of this.

    See: `get_size_with_aspect_ratio` of transformers, and that of its YOLOS, which has multiples,
    and computes the height of an upright image anew even if its width is right already.
    """
    width, height = size
    exact = float(shorter)
    if longer is not None and max(size) / min(size) * shorter > longer:
        exact = longer * float(min(size)) / max(size)
    rounded = round(exact)
    if width < height and (min(size) != rounded or multiple > 1):
        width, height = rounded, int(exact * height / width)
    elif min(size) != rounded:
        width, height = int(exact * width / height), rounded
    return max(multiple, width - width % multiple), max(multiple, height - height % multiple)


def resize(
    image: Image.Image, size: Size, interpolation: Interpolation, *, max_pixels: int
) -> Image.Image:
    """Resize to (height, width), or so that the shorter side is `size`; not at all when None.

    Raises:
        BadRequest: 413 when keeping the aspect would take more than `max_pixels`.
    """
    if size is None:
        return image
    if isinstance(size, int):
        shorter = min(image.size)
        width, height = size * image.width // shorter, size * image.height // shorter
        check_area((width, height), image.size, max(max_pixels, size * size))
    else:
        height, width = size
    if image.size == (width, height):
        return image
    return scaled(image, (width, height), interpolation)


def scaled(image: Image.Image, size: tuple[int, int], interpolation: Interpolation) -> Image.Image:
    """Resize to (width, height), as PIL does it, or OpenCV."""
    if interpolation in RESAMPLING:
        return image.resize(size, RESAMPLING[interpolation])
    by_area = interpolation == "opencv_area"
    return Image.fromarray(opencv.resize(np.asarray(image), size[::-1], by_area=by_area))


def check_area(size: tuple[int, int], original: tuple[int, int], most: int) -> None:
    """Refuse an image that would be blown up to more than `most` pixels.

    Raises:
        BadRequest: 413.
    """
    if size[0] * size[1] > most:
        raise BadRequest(
            f"an image of {original[0]} by {original[1]} pixels is too long and thin",
            hint="crop it",
            status=413,
        )


def center_crop(image: Image.Image, size: Size, *, down: bool = False) -> Image.Image:
    """Crop to the central (height, width), or square; black where the image is smaller."""
    if size is None:
        return image
    height, width = (size, size) if isinstance(size, int) else size
    left, top = corner(image.size, size, down=down)
    return image.crop((left, top, left + width, top + height))


def corner(size: tuple[int, int], crop: Size, *, down: bool = False) -> tuple[int, int]:
    """The left and top of `center_crop` in an image of (width, height).

    Half a pixel is rounded to the even one, as torchvision does, or down, as transformers does.
    """
    if crop is None:
        return 0, 0
    height, width = (crop, crop) if isinstance(crop, int) else crop
    if down:
        return (size[0] - width) // 2, (size[1] - height) // 2
    return round((size[0] - width) / 2), round((size[1] - height) / 2)


def letterbox(
    image: Image.Image,
    size: tuple[int, int],
    interpolation: Interpolation,
    ground: int = GREY,
) -> tuple[Image.Image, Placement]:
    """Fit an image into the middle of a grey (height, width); return its placement, too."""
    height, width = size
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    grey: int | tuple[int, ...] = ground if image.mode == "L" else (ground,) * 3
    boxed = Image.new(image.mode, (width, height), grey)
    boxed.paste(scaled(image, inner, interpolation), (left, top))
    return boxed, Placement(image.size, inner, left, top)


def padded(image: Image.Image, multiple: int, ground: int) -> Image.Image:
    """Add rows below and columns to the right, in one grey, until both sides are a multiple."""
    width, height = (-(-side // multiple) * multiple for side in image.size)
    if image.size == (width, height):
        return image
    grey: int | tuple[int, ...] = ground if image.mode == "L" else (ground,) * 3
    wider = Image.new(image.mode, (width, height), grey)
    wider.paste(image, (0, 0))
    return wider


def to_tensor(image: Image.Image) -> torch.Tensor:
    """Convert pixels to (C, H, W) uint8 in [0, 255]; C is 3, or 1 for greyscale."""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    shape = (image.height, image.width, len(image.getbands()))
    return pixels.view(shape).permute(2, 0, 1).contiguous()
