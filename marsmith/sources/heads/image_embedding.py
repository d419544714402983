"""An encoder of images that answers a vector for each: CLIP's and SigLIP's, or one of images."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from marsmith.errors import UnsupportedError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _on_images, _preprocessor

AUTO = "AutoModel"


class ImageEncoder(torch.nn.Module):
    """A model from images to vectors.

    What it answers is `get_image_features` of a model that has it, as CLIP's and SigLIP's do: what
    is compared with the vectors of texts. Of others it is the `pooler_output`: DINOv2's first
    token behind the last norm, ViT's `pooler`, the mean of ResNet's, ConvNeXt's and Swin's maps.

    Args:
        model: one of transformers'.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Turn normalised images, (N, 3, H, W) float32, into vectors, (N, D) float32."""
        ask: Any = getattr(self.model, "get_image_features", self.model)
        found: torch.Tensor = ask(pixel_values=image).pooler_output.float()
        return found.flatten(start_dim=1)  # ResNet's is (N, D, 1, 1)


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model in ImageEncoder; what is for texts alone is left out.

    Raises:
        UnsupportedError: it takes no images, or has no pooled output.
    """
    if hasattr(model, "get_image_features"):
        if hasattr(model, "text_model"):
            model.register_module("text_model", None)
        return ImageEncoder(model)
    if "pixel_values" not in inspect.signature(model.forward).parameters:
        raise UnsupportedError(f"{folder.name} is no model of images")
    if getattr(model, "pooler", None) is None and not _pools_anyway(model):
        raise UnsupportedError(
            f"{folder.name} has no pooled output",
            "bring a 'source.factory' that pools the model's states as you do",
        )
    return ImageEncoder(model)


def _pools_anyway(model: torch.nn.Module) -> bool:
    config: Any = model.config
    side = config.image_size if hasattr(config, "image_size") else 224
    height, width = side if isinstance(side, (list, tuple)) else (side, side)
    with torch.inference_mode():
        found = model(pixel_values=torch.zeros(1, config.num_channels, height, width))
    return getattr(found, "pooler_output", None) is not None


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers makes of images: their vectors, before they are scaled to length 1."""
    model, processor = _on_images.read(folder, AUTO)
    of_texts_too = hasattr(model, "get_image_features")
    prepares = _on_images.as_the_folder(folder, handler)
    outputs: list[tuple[torch.Tensor, ...] | None] = []
    for image in _on_images.opened(instances):
        if image is None or not prepares:
            outputs.append(None)
            continue
        with torch.inference_mode():
            inputs = _on_images.prepared(processor, image)
            found = model.get_image_features(**inputs) if of_texts_too else model(**inputs)
        outputs.append((found.pooler_output.flatten(start_dim=1),))
    return Untouched([None] * len(outputs), outputs)


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Say how images are prepared."""
    return _preprocessor.bring(folder)
