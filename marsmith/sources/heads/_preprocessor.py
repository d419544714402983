"""The image processor of a Hugging Face folder, as settings of the `handler:` section."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from handlers.tasks.image_embedding import ImageEmbedding
from marsmith.errors import BuildError, UnsupportedError
from marsmith.sources.heads import read_object

SAVE = "save it beside the model: processor.save_pretrained(FOLDER)"
PREPARE = "bring a 'source.factory', and say in 'handler:' how an image becomes the model's input"
# Processors that prepare an image in a way of their own, all of which `settings` knows; others
# must be made of the steps that all share.
OWN = ("ConvNext", "EfficientNet", "Segformer", "Detr", "RTDetr", "Yolos")
SIDES_OF_16 = ("Yolos",)  # it cuts the sides down to multiples of a patch's
STEPS = ("resize", "center_crop", "rescale", "normalize", "pad", "process_image", "_preprocess")
FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
KNOWN = {
    "do_resize", "size", "max_size", "resample", "default_to_square", "crop_pct",
    "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "rescale_offset",
    "do_normalize", "image_mean", "image_std", "include_top", "do_pad", "pad_size",
    "pad_and_return_pixel_mask", "do_convert_rgb",
}  # fmt: skip
# Names of classes, what is said of annotations, and what a pipeline never uses.
NOT_OF_PIXELS = {
    "image_processor_type", "feature_extractor_type", "processor_class",
    "format", "do_convert_annotations", "do_reduce_labels", "reduce_labels", "num_labels",
    "ignore_index", "return_segmentation_masks", "model_input_names", "image_seq_length",
    "image_seqlen", "data_format", "input_data_format", "return_tensors", "_valid_processor_keys",
}  # fmt: skip
SIZE = (
    "height", "width", "shortest_edge", "longest_edge", "max_height", "max_width", "min_pixels",
    "max_pixels",
)  # fmt: skip
# The (width, height) of images that are prepared by both: wide, high, small, odd, long and thin.
SIZES = ((97, 61), (61, 98), (9, 7), (331, 240), (240, 333), (300, 90))
TOLERANCE = 1e-3  # of a normalised pixel; another order of float32 makes 1e-6


def read(folder: Path) -> Any:
    """Read the image processor, in the form that needs PIL alone.

    Raises:
        BuildError: there is none, or it is damaged.
    """
    try:
        auto = importlib.import_module("transformers").AutoImageProcessor
        return auto.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # what is wrong in the files decides which
        reason = " ".join(str(error).split())[:200]
        raise BuildError(f"{folder.name} has no image processor: {reason}", SAVE) from error


def bring(folder: Path) -> dict[str, object]:
    """The settings that prepare an image as the folder's own processor does, which is tried.

    Raises:
        BuildError: the folder has no image processor.
        UnsupportedError: it does what no setting says, or prepares images otherwise.
    """
    processor = read(folder)
    found = settings(processor, folder)

    def prepare(image: Image.Image) -> torch.Tensor:
        prepared: torch.Tensor = processor(images=image, return_tensors="pt")["pixel_values"]
        return prepared

    see_that_it_prepares(prepare, found, folder.name, type(processor).__name__)
    return found


def settings(processor: Any, folder: Path) -> dict[str, object]:
    """Translate a processor into the settings of `handlers.images.handler.ImageConfig`.

    Args:
        processor: of transformers, which has filled in what the file leaves out.
        folder: of the file, whose every key must be known.

    Raises:
        UnsupportedError: it does what no setting says.
    """
    name = type(processor).__name__.removesuffix("Pil").removesuffix("ImageProcessor")
    said = _said(processor, folder)
    unknown = sorted(k for k, v in said.items() if v and k not in KNOWN | NOT_OF_PIXELS)
    if unknown:
        raise UnsupportedError(f"{folder.name}: {unknown[0]!r} of {name} is not known", PREPARE)
    shared = importlib.import_module("transformers.image_processing_backends").PilBackend
    own = [step for step in STEPS if getattr(type(processor), step) is not getattr(shared, step)]
    if own and name not in OWN:
        raise UnsupportedError(f"{folder.name}: {name} has a {own[0]} of its own", PREPARE)
    if getattr(processor, "do_pad", False) and _sides(processor.pad_size):
        raise UnsupportedError(f"{folder.name}: {name} pads images to 'pad_size'", PREPARE)
    white = {"white_for_transparent": True} if getattr(processor, "do_convert_rgb", None) else {}
    return {"upright": True, **white, **_place(processor, name, folder), **_scale(processor)}


def _said(processor: Any, folder: Path) -> Mapping[str, Any]:
    """What the file says, before anything is filled in."""
    beside = folder / "processor_config.json"
    inner = read_object(beside).get("image_processor") if beside.is_file() else None
    if isinstance(inner, dict):
        return inner
    found: Mapping[str, Any] = type(processor).get_image_processor_dict(
        folder, local_files_only=True
    )[0]
    return found


def _sides(size: Any) -> dict[str, int]:
    """What a size says of sides; several forms are one class in transformers."""
    found = {name: getattr(size, name, None) for name in SIZE}
    return {name: int(value) for name, value in found.items() if value is not None}


def _place(processor: Any, name: str, folder: Path) -> dict[str, object]:
    """How an image is resized and cropped."""
    found: dict[str, object] = {}
    if processor.do_resize:
        found |= _resized(processor, name, folder)
    if getattr(processor, "do_center_crop", False) and name != "Segformer":
        if "crop" in found:
            raise UnsupportedError(f"{folder.name}: {name} crops an image twice", PREPARE)
        match _sides(processor.crop_size):
            case {"height": height, "width": width, **more} if not more:
                found["crop"] = [height, width]
            case other:
                raise UnsupportedError(f"{folder.name}: 'crop_size' is {other}", PREPARE)
    return {**found, "crop_down": True} if "crop" in found else found


def _resized(processor: Any, name: str, folder: Path) -> dict[str, object]:
    resample = 2 if processor.resample is None else int(processor.resample)
    found: dict[str, object] = {"interpolation": FILTERS[resample]}
    match _sides(processor.size), name:
        case {"shortest_edge": side, **more}, "ConvNext" if not more:
            if side >= 384:
                return {**found, "resize": [side, side]}
            return {**found, "resize": int(side / processor.crop_pct), "crop": [side, side]}
        case {"height": height, "width": width, **more}, _ if not more:
            return {**found, "resize": [height, width]}
        case {"shortest_edge": side, "longest_edge": most, **more}, _ if not more:
            bounds = {"side_multiple": 16} if name in SIDES_OF_16 else {}
            return {**found, "resize": side, "max_side": most, **bounds}
        case {"shortest_edge": side, **more}, _ if not more:
            return {**found, "resize": side}
        case other, _:
            raise UnsupportedError(f"{folder.name}: 'size' of {name} is {other}", PREPARE)


def _scale(processor: Any) -> dict[str, object]:
    """The mean and deviation, of pixels in [0, 1], that all steps of arithmetic come to.

    A pixel x of [0, 255] becomes (factor * x - offset - mean) / deviation, and with `include_top`
    is divided by the deviation once more.
    """
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    offset = 1.0 if processor.do_rescale and getattr(processor, "rescale_offset", False) else 0.0
    mean, deviation = np.zeros(3), np.ones(3)
    if processor.do_normalize:
        mean = np.broadcast_to(np.array(processor.image_mean, np.float64), 3)
        deviation = np.broadcast_to(np.array(processor.image_std, np.float64), 3)
    if getattr(processor, "include_top", False):
        deviation = deviation * np.broadcast_to(np.array(processor.image_std, np.float64), 3)
    return {
        "mean": ((mean + offset) / (255 * factor)).tolist(),
        "std": (deviation / (255 * factor)).tolist(),
    }


def see_that_it_prepares(
    prepare: Callable[[Image.Image], torch.Tensor],
    settings: Mapping[str, object],
    model: str,
    by: str,
) -> None:
    """Prepare images of several sizes: a handler must make of them what a library does.

    Args:
        prepare: the library's own, from an image to (1, C, H, W) float32.
        settings: of the handler.
        model: its name, for messages.
        by: who prepares, likewise.

    Raises:
        UnsupportedError: it makes something else.
    """
    handler = ImageEmbedding()
    handler.configure({"task": "image_embedding", **settings}, Path())
    chance = np.random.default_rng(0)
    for width, height in SIZES:
        pixels = chance.integers(0, 256, (height, width, 3), dtype=np.uint8)
        wanted = prepare(Image.fromarray(pixels))
        found = handler.collate([handler.decode(pixels, handler.default_options)])["image"]
        if found.shape != wanted.shape or not torch.allclose(found, wanted, atol=TOLERANCE):
            raise UnsupportedError(
                f"{model}: an image of {width} by {height} pixels is prepared otherwise than"
                f" {by} prepares it",
                PREPARE,
            )
