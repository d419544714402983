"""Shared by tasks that take images: an encoded image in, pixels for the model out."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from PIL import Image

from handlers import base
from handlers.errors import BadRequest, LoadError
from handlers.images import limits, pixels
from handlers.images.pixels import Placement
from handlers.protocols import base64_text, tensors
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, setting
from handlers.task import Config, O, Sample, stack
from handlers.tensors import numpy_files


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


C = TypeVar("C", bound=ImageConfig)


class ImageHandler(base.Handler[C, O, Placement]):
    """A task that takes images. A subclass implements `answer`, `Options` and `Answer`.

    An instance is an encoded image: bytes, base64 text, or in v2 a BYTES tensor of base64, or a
    UINT8 one of pixels (height, width[, 3]). A list of numbers, or a float v2 tensor, is the
    model's own input, (C, H, W), in its order of colours, normalised by the client. A sample's
    `meta` is its `Placement`.
    """

    def setup(self, folder: Path) -> None:
        """Check the settings."""
        channels = 1 if self.config.greyscale else 3
        self.mean, self.std = (
            _per_channel(values, channels, name)
            for name, values in (("mean", self.config.mean), ("std", self.config.std))
        )
        self.limits = limits.Limits(
            self.config.max_pixels,
            self.config.max_image_bytes,
            self.config.max_image_side,
            self.config.max_jpeg_scans,
            self.config.white_for_transparent,
        )
        if 0 in self.std:
            raise LoadError("'std' must not be 0: pixels are divided by it")
        if self.config.greyscale and self.config.colours != "rgb":
            raise LoadError("'greyscale' has no 'colours' to order", hint="set one of them")
        if self.config.letterbox and not isinstance(self.config.resize, tuple):
            raise LoadError("'letterbox' needs 'resize' to be [height, width]")
        bounded = self.config.max_side is not None or self.config.side_multiple > 1
        if bounded and not isinstance(self.config.resize, int):
            raise LoadError(
                "'max_side' and 'side_multiple' need 'resize' to be the shorter side",
                hint="set 'resize' to one number, or leave them out",
            )
        if self.config.letterbox and self.config.crop:
            raise LoadError("'letterbox' has nothing to 'crop'", hint="set one of them")

    def screen(self, instances: Sequence[object]) -> None:
        """Refuse a request whose images have more than `max_pixels` together."""
        encoded, decoded = [], 0
        for each in instances if len(instances) > 1 else ():
            instance: object = None
            with suppress(BadRequest):
                instance = numpy_files.opened(each)
            if isinstance(instance, np.ndarray):
                decoded += math.prod(instance.shape[:2]) if instance.dtype == np.uint8 else 0
                continue
            with suppress(BadRequest):  # it is refused, by its number, when it is decoded
                encoded.append(base64_text.encoded(instance, "an image"))
        limits.check_together(encoded, decoded, self.limits)

    def decode(self, instance: object, options: O) -> Sample[O, Placement]:
        """Convert an instance to (C, H, W): uint8 pixels, or float32 normalised by the client."""
        instance = numpy_files.opened(instance)
        if isinstance(instance, list):
            instance = tensors.to_array(instance, "the image")
        if isinstance(instance, np.ndarray):
            tensor, placement = self._from_array(instance)
        else:
            image = pixels.open_image(base64_text.encoded(instance, "an image"), self.limits)
            tensor, placement = self._to_pixels(image)
        return Sample({"image": tensor}, options, placement)

    def collate(self, samples: Sequence[Sample[object, Placement]]) -> Tensors:
        """Combine into (N, C, H, W) float32; pixels are normalised here, once for the batch."""
        batch = stack([sample.tensors for sample in samples])["image"]
        if batch.dtype == torch.uint8:
            batch = pixels.normalise(batch, self.mean, self.std, self.config.pixel_range)
        return {"image": batch}

    def example(self) -> tuple[str, bytes]:
        """A PNG of the model's size whose channels are ramps: across, down, and both."""
        height, width = self._size() or (224, 224)
        rows, columns = np.indices((height, width)) * 255 // max(height, width)
        ramps = np.stack([columns, rows, (rows + columns) // 2], axis=-1).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(ramps[..., 0] if self.config.greyscale else ramps).save(buffer, "PNG")
        return "image/png", buffer.getvalue()

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be."""
        channels, size = 1 if self.config.greyscale else 3, self._size()
        shape = [channels, *(size or (None, None))]
        order = {} if self.config.greyscale else {"colours": self.config.colours}
        return {
            "image": f"an encoded image ({', '.join(limits.FORMATS)}), as bytes or base64",
            "upright": self.config.upright,
            "max_pixels": self.config.max_pixels,
            "max_image_bytes": self.config.max_image_bytes,
            "max_image_side": self.config.max_image_side,
            "array": "an .npy of pixels, UINT8, or of a tensor; see both",
            "tensor": {"datatype": "FP32", "shape": shape, "normalised": True, **order},
            "pixels": {"datatype": "UINT8", "shape": "(height, width) or (height, width, 3)"},
        }

    def instance_schema(self) -> JsonObject:
        """A file in base64, or pixels row by row."""
        number: JsonObject = {"type": "number"}
        pixel: JsonObject = {"anyOf": [number, {"type": "array", "items": number}]}
        rows: JsonObject = {"type": "array", "items": {"type": "array", "items": pixel}}
        return {"anyOf": [*base64_text.SCHEMA, rows]}

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axes of height and width, unless all images are cropped or resized to one size."""
        return {} if self._fixed_size() else {"image": (2, 3)}

    def _fixed_size(self) -> tuple[int, int] | None:
        return self._size() if self.config.crop or isinstance(self.config.resize, tuple) else None

    def _size(self) -> tuple[int, int] | None:
        size = self.config.crop or self.config.resize
        if isinstance(size, int):
            return (size, size)
        return size

    def _to_pixels(self, image: Image.Image) -> tuple[torch.Tensor, Placement]:
        config = self.config
        image = pixels.upright(image) if config.upright else image
        image = pixels.without_key(image) if config.white_for_transparent else image
        size = image.size
        image = pixels.to_mode(image, greyscale=config.greyscale)
        if config.letterbox and isinstance(config.resize, tuple):
            image, placement = pixels.letterbox(
                image, config.resize, config.interpolation, config.letterbox_grey
            )
            return self._ordered(image), placement
        wanted = config.resize
        if isinstance(wanted, int) and (config.max_side or config.side_multiple > 1):
            width, height = pixels.within(size, wanted, config.max_side, config.side_multiple)
            pixels.check_area((width, height), size, max(config.max_pixels, wanted * wanted))
            wanted = (height, width)
        image = pixels.resize(image, wanted, config.interpolation, max_pixels=config.max_pixels)
        left, top = pixels.corner(image.size, config.crop, down=config.crop_down)
        placement = Placement(size, image.size, -left, -top)
        return self._ordered(
            pixels.center_crop(image, config.crop, down=config.crop_down)
        ), placement

    def _ordered(self, image: Image.Image) -> torch.Tensor:
        tensor = pixels.to_tensor(image)
        return tensor.flip(0) if self.config.colours == "bgr" else tensor

    def _from_array(self, array: tensors.Array) -> tuple[torch.Tensor, Placement]:
        if array.dtype == np.uint8:
            coloured = array.ndim == 3 and array.shape[2] == 3
            if not (array.ndim == 2 or coloured) or not array.size:
                raise BadRequest("pixels must be (height, width) or (height, width, 3)", status=422)
            limits.check_size(array.shape[1], array.shape[0], self.limits)
            return self._to_pixels(Image.fromarray(array))
        channels, fixed = 1 if self.config.greyscale else 3, self._fixed_size()
        if (
            array.ndim != 3
            or array.shape[0] != channels
            or (fixed and array.shape[1:] != fixed)
            or not array.size
        ):
            wanted = f"({channels}, {fixed[0]}, {fixed[1]})" if fixed else f"({channels}, H, W)"
            raise BadRequest(
                f"a tensor must be {wanted}, not {tuple(array.shape)}",
                hint="or send an encoded image",
                status=422,
            )
        with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite
            tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        if not torch.isfinite(tensor).all():
            raise BadRequest("the tensor has NaN or infinity in it", status=422)
        size = (tensor.shape[2], tensor.shape[1])
        return tensor, Placement(size, size)


def _per_channel(values: tuple[float, ...], channels: int, name: str) -> tuple[float, ...]:
    if len(values) == 1:
        return values * channels
    if len(values) != channels:
        raise LoadError(f"{name!r} must have 1 or {channels} numbers, not {len(values)}")
    return values
