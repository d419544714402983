"""How an image becomes a model's input: the settings, and which of them contradict each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from handlers.errors import LoadError
from handlers.images import pixels
from handlers.schema import setting
from handlers.task import Config


@dataclass(frozen=True, kw_only=True)
class ImageConfig(Config):
    """How an image becomes the model's input, in this order."""

    upright: bool = setting(
        True, "Turn the image as its EXIF says; false where the model's reference leaves it lying."
    )
    white_for_transparent: bool = setting(
        False, "White where a colour counts as transparent, as in GIF; alpha is dropped anyway."
    )
    resize: int | tuple[int, int] | None = setting(
        None, "The shorter side, or (height, width).", minimum=1
    )
    max_side: int | None = setting(
        None, "The most of the longer side, where `resize` is the shorter.", minimum=1
    )
    side_multiple: int = setting(
        1, "Both sides are cut down to a multiple, where `resize` is the shorter.", minimum=1
    )
    interpolation: pixels.Interpolation = setting(
        "bilinear",
        "How resizing samples the image, as PIL does it; `opencv_linear` and `opencv_area` as"
        " `cv2.resize` does, bit for bit.",
    )
    letterbox: bool = setting(False, "Keep the aspect within `resize`, on a grey ground.")
    letterbox_grey: int = setting(
        pixels.GREY, "The ground of a letterbox, black to white.", minimum=0, maximum=255
    )
    crop: int | tuple[int, int] | None = setting(
        None, "A central square's side, or (height, width).", minimum=1
    )
    crop_down: bool = setting(
        False, "Round a crop's corner down, as transformers does; else to the nearest even pixel."
    )
    greyscale: bool = setting(False, "One channel instead of three.")
    colours: Literal["rgb", "bgr"] = setting(
        "rgb", "The order of the channels that the model takes, and of `mean` and `std`."
    )
    pixel_range: Literal[1, 255] = setting(
        1, "White, in the range of pixels that `mean` and `std` are for: 1, or 255."
    )
    mean: tuple[float, ...] = setting((0.0,), "Per channel, in `pixel_range`; one for all.")
    std: tuple[float, ...] = setting((1.0,), "Per channel, in `pixel_range`; one for all.")
    pad_to_multiple: int = setting(
        1,
        "Rows below and columns to the right make both sides a multiple, after all else.",
        minimum=1,
        maximum=1024,
    )
    pad_grey: int = setting(
        0, "What these are, black to white, before `mean` and `std`.", minimum=0, maximum=255
    )
    channels: Literal["first", "last"] = setting(
        "first", "The axes that the model takes: (N, C, H, W), or (N, H, W, C)."
    )
    input_dtype: Literal["float32", "uint8"] = setting(
        "float32",
        "What the archive's model takes: normalised numbers; or pixels as they are, a quarter of"
        " the bytes, where a build makes `mean` and `std` the model's first step.",
    )
    max_pixels: int = setting(
        50_000_000, "The most pixels of a request's images together.", minimum=1
    )
    max_image_bytes: int = setting(
        320_000_000, "The most memory to decode them, as their headers let it be known.", minimum=1
    )
    max_image_side: int = setting(65_535, "The longest side of an image that is sent.", minimum=1)
    max_jpeg_scans: int = setting(
        20, "The most scans of a JPEG; encoders write 10, and 18 in CMYK.", minimum=1
    )


def check(config: ImageConfig) -> None:
    """Check that settings go together.

    Raises:
        LoadError: two of them contradict each other, or one needs another.
    """
    if config.greyscale and config.colours != "rgb":
        raise LoadError("'greyscale' has no 'colours' to order", hint="set one of them")
    if config.letterbox and not isinstance(config.resize, tuple):
        raise LoadError("'letterbox' needs 'resize' to be [height, width]")
    bounded = config.max_side is not None or config.side_multiple > 1
    if bounded and not isinstance(config.resize, int):
        raise LoadError(
            "'max_side' and 'side_multiple' need 'resize' to be the shorter side",
            hint="set 'resize' to one number, or leave them out",
        )
    if config.letterbox and config.crop:
        raise LoadError("'letterbox' has nothing to 'crop'", hint="set one of them")
    if config.letterbox and config.pad_to_multiple > 1:
        raise LoadError(
            "'letterbox' fills up to 'resize' itself, and 'pad_to_multiple' would go beyond",
            hint="set one of them; 'resize' may be a multiple",
        )
    if config.pad_grey and config.pad_to_multiple == 1:
        raise LoadError("'pad_grey' is the colour of what 'pad_to_multiple' adds", hint="set both")


def per_channel(values: tuple[float, ...], config: ImageConfig, name: str) -> tuple[float, ...]:
    """One number for each channel, of a setting that may say one for all.

    Raises:
        LoadError: it says another number of them, or 0 for a standard deviation.
    """
    channels = 1 if config.greyscale else 3
    if name == "std" and 0 in values:
        raise LoadError("'std' must not be 0: pixels are divided by it")
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise LoadError(f"{name!r} must have 1 or {channels} numbers, not {len(values)}")
    return values
