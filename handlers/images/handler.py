"""Shared by tasks that take images: an encoded image in, pixels for the model out."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from handlers import base
from handlers.errors import BadRequest
from handlers.images import limits, pixels, settings
from handlers.images.normalising import Normalisation, normalise
from handlers.images.pixels import Placement
from handlers.images.settings import ImageConfig as ImageConfig
from handlers.protocols import base64_text, tensors
from handlers.runtimes import Tensors
from handlers.schema import JsonObject
from handlers.task import O, Sample, stack
from handlers.tensors import numpy_files

C = TypeVar("C", bound=ImageConfig)


class ImageHandler(base.Handler[C, O, Placement]):
    """A task that takes images. A subclass implements `answer`, `Options` and `Answer`.

    An instance is an encoded image: bytes, base64 text, or in v2 a BYTES tensor of base64, or a
    UINT8 one of pixels (height, width[, 3]). A list of numbers, or a float v2 tensor, is the
    model's own input, (C, H, W) or (H, W, C), in its order of colours, normalised by the client;
    there is none where the model normalises. A sample's tensor is (C, H, W), its `meta` is its
    `Placement`.
    """

    def setup(self, folder: Path) -> None:
        """Check the settings."""
        settings.check(self.config)
        self.mean = settings.per_channel(self.config.mean, self.config, "mean")
        self.std = settings.per_channel(self.config.std, self.config, "std")
        self.limits = limits.Limits(
            self.config.max_pixels,
            self.config.max_image_bytes,
            self.config.max_image_side,
            self.config.max_jpeg_scans,
            self.config.white_for_transparent,
        )

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
        """Combine into a batch as the model takes it.

        Returns:
            `image`: (N, C, H, W), or (N, H, W, C): float32, normalised here, once for the batch;
            or uint8 in [0, 255] where the model normalises.
        """
        batch = stack([sample.tensors for sample in samples])["image"]
        if batch.dtype == torch.uint8 and self.config.input_dtype == "float32":
            batch = normalise(batch, self.mean, self.std, self.config.pixel_range)
        return {"image": batch.movedim(1, self.channel_axis).contiguous()}

    @property
    def channel_axis(self) -> int:
        """The axis of the channels in a batch."""
        return 1 if self.config.channels == "first" else 3

    def prepared(self, batch: Tensors) -> Tensors:
        """A batch with normalised images."""
        if self.config.input_dtype == "float32":
            return batch
        image = batch["image"].movedim(self.channel_axis, 1)
        image = normalise(image, self.mean, self.std, self.config.pixel_range)
        return {**batch, "image": image.movedim(1, self.channel_axis).contiguous()}

    def preparation(self) -> dict[str, torch.nn.Module]:
        """Normalisation, where that is the model's."""
        if self.config.input_dtype == "float32":
            return {}
        last = self.config.channels == "last"
        white = self.config.pixel_range
        return {"image": Normalisation(self.mean, self.std, white, channels_last=last)}

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
        order = {} if self.config.greyscale else {"colours": self.config.colours}
        tensor = {"datatype": "FP32", "shape": self._shape(), "normalised": True, **order}
        taken = self.config.input_dtype == "float32"
        return {
            "image": f"an encoded image ({', '.join(limits.FORMATS)}), as bytes or base64",
            "upright": self.config.upright,
            "max_pixels": self.config.max_pixels,
            "max_image_bytes": self.config.max_image_bytes,
            "max_image_side": self.config.max_image_side,
            "array": f"an .npy of pixels, UINT8{', or of a tensor; see both' if taken else ''}",
            **({"tensor": tensor} if taken else {}),
            "pixels": {"datatype": "UINT8", "shape": "(height, width) or (height, width, 3)"},
        }

    def _shape(self) -> list[int | None]:
        """The shape of the model's input, without the batch."""
        channels, size = 1 if self.config.greyscale else 3, self._input_size()
        height, width = size or (None, None)
        first = self.config.channels == "first"
        return [channels, height, width] if first else [height, width, channels]

    def instance_schema(self) -> JsonObject:
        """A file in base64, or pixels row by row."""
        number: JsonObject = {"type": "number"}
        pixel: JsonObject = {"anyOf": [number, {"type": "array", "items": number}]}
        rows: JsonObject = {"type": "array", "items": {"type": "array", "items": pixel}}
        return {"anyOf": [*base64_text.SCHEMA, rows]}

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axes of height and width, unless all images are cropped or resized to one size."""
        axes = (2, 3) if self.config.channels == "first" else (1, 2)
        return {} if self._fixed_size() else {"image": axes}

    def _fixed_size(self) -> tuple[int, int] | None:
        fixed = self.config.crop or isinstance(self.config.resize, tuple)
        return self._input_size() if fixed else None

    def _input_size(self) -> tuple[int, int] | None:
        multiple, size = self.config.pad_to_multiple, self._size()
        if size is None:
            return None
        height, width = (-(-side // multiple) * multiple for side in size)
        return height, width

    def _size(self) -> tuple[int, int] | None:
        """Before it is padded: of an image that is neither enlarged nor cut, say."""
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
        image = pixels.center_crop(image, config.crop, down=config.crop_down)
        image = pixels.padded(image, config.pad_to_multiple, config.pad_grey)
        return self._ordered(image), placement

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
        if self.config.input_dtype == "uint8":
            raise BadRequest(
                "this model normalises pixels itself, and takes no tensor of other numbers",
                hint="send an encoded image, or pixels as UINT8",
                status=422,
            )
        self._check_tensor(array)
        with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite
            tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        if not torch.isfinite(tensor).all():
            raise BadRequest("the tensor has NaN or infinity in it", status=422)
        tensor = tensor.movedim(self.channel_axis - 1, 0)
        size = (tensor.shape[2], tensor.shape[1])
        return tensor, Placement(size, size)

    def _check_tensor(self, array: tensors.Array) -> None:
        """Refuse a client's own tensor that isn't the model's input."""
        channels, multiple = 1 if self.config.greyscale else 3, self.config.pad_to_multiple
        height, width = self._fixed_size() or ("H", "W")
        shape = (channels, height, width) if self.channel_axis == 1 else (height, width, channels)
        fits = array.ndim == 3 and all(
            size and size % multiple == 0 if isinstance(wanted, str) else size == wanted
            for size, wanted in zip(array.shape, shape, strict=True)
        )
        if not fits:
            whole = f", H and W multiples of {multiple}" if height == "H" and multiple > 1 else ""
            raise BadRequest(
                f"a tensor must be ({', '.join(map(str, shape))}){whole}, not {array.shape}",
                hint="or send an encoded image",
                status=422,
            )
