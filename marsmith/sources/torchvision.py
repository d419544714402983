"""A classifier of torchvision, by its name, with a checkpoint and the transforms of its weights."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import model_validator

from handlers.images.pixels import RESAMPLING
from handlers.schema import unknown
from marsmith.errors import RecipeError, UnsupportedError
from marsmith.sources import _image_models
from marsmith.sources._image_models import Preparation
from marsmith.sources.heads import _on_images, _preprocessor

DOWNLOADS = ("weights", "weights_backbone", "pretrained")
PRESET = "ImageClassification"
SAID = ("resize_size", "crop_size", "interpolation", "mean", "std")
OF_IMAGENET: dict[str, dict[str, object]] = {
    "googlenet": {"transform_input": True}, "inception_v3": {"transform_input": True},
}  # fmt: skip
"""What torchvision changes in a model, beside its sizes, because it was trained elsewhere."""
UNTRAINED: dict[str, dict[str, object]] = {
    "googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False},
}  # fmt: skip
"""What spares a slow start with numbers that a checkpoint replaces."""


class Torchvision(_image_models.ImageModel):
    """`torchvision` is the name of a classifier; `weights` says how images are prepared for it."""

    LIBRARY = "torchvision"

    torchvision: str
    """One of `torchvision.models.list_models(torchvision.models)`."""
    weights: str | None = None
    """The name of torchvision's own weights, such as IMAGENET1K_V2: they are not read, but images
    are prepared as for them, and classes called so if they are as many. `checkpoint` has the
    weights: those, or what was trained on from them."""

    @model_validator(mode="after")
    def _without_downloads(self) -> Torchvision:
        self.refuse_downloads(*DOWNLOADS)
        return self

    def named(self) -> str:
        """The name."""
        return self.torchvision

    def make(self, library: Any, say: Callable[[str], None]) -> torch.nn.Module:
        """Make the model, as torchvision makes it for these weights."""
        models, name = library.models, self.torchvision
        known = models.list_models(models)
        if name not in known:
            if name in models.list_models():
                raise UnsupportedError(
                    f"{name} of torchvision is not for {_image_models.CLASSIFIES}",
                    "bring a 'source.factory' whose module returns what its task answers with",
                )
            near = difflib.get_close_matches(name, known, n=3)
            raise RecipeError(
                f"torchvision {library.__version__} has no classifier {name!r}",
                f"near to it: {', '.join(near)}" if near else f"there are: {', '.join(known)}",
            )
        weights = self._weights(models)
        wanted = self.arguments if weights is None else {
            **OF_IMAGENET.get(name, {}), **_sizes(name, weights.meta), **self.arguments
        }  # fmt: skip
        wanted = {**UNTRAINED.get(name, {}), **wanted}
        return self.called(models.get_model, wanted, name=name, weights=None)

    def preparation(self, library: Any, module: torch.nn.Module) -> Preparation | None:
        """How images are prepared for the weights; None where none are named.

        Raises:
            UnsupportedError: no setting says how.
        """
        weights = self._weights(library.models)
        if weights is None:
            return None
        transform, categories = weights.transforms(), weights.meta["categories"] or []
        if type(transform).__name__ != PRESET:
            raise UnsupportedError(
                f"{self.torchvision}: {type(transform).__name__} prepares images for {weights}",
                _preprocessor.PREPARE,
            )
        said = {name: getattr(transform, name) for name in SAID}
        said["interpolation"] = transform.interpolation.value
        classes = self.arguments.get("num_classes", len(categories))
        labels = _on_images.told_apart(categories) if classes == len(categories) else []
        return Preparation(settings(said, self.torchvision), transform, labels)

    def _weights(self, models: Any) -> Any:
        """The member of the model's own enumeration of weights; None where none is named."""
        if self.weights is None:
            return None
        known = models.get_model_weights(self.torchvision).__members__
        name = self.weights.rpartition(".")[2]
        if name not in known:
            raise RecipeError(unknown(name, list(known), f"'weights' of {self.torchvision}"))
        return known[name]


def _sizes(name: str, meta: Mapping[str, Any]) -> dict[str, object]:
    """How many classes the weights have, if any, and the side of images that a ViT is made for."""
    side = {"image_size": meta["min_size"][0]} if name.startswith("vit_") else {}
    classes = {"num_classes": len(meta["categories"])} if meta["categories"] else {}
    return {**classes, **side}


def settings(said: Mapping[str, Any], name: str) -> dict[str, object]:
    """Translate what torchvision's preset for classification says into settings of a handler.

    Args:
        said: `resize_size` and `crop_size`, lists of one or two sides, `interpolation`, `mean` and
            `std`. How it samples images of PIL doesn't depend on its `antialias`.
        name: the model's, for messages.

    Returns:
        What the preset does to an image of PIL. It doesn't look at EXIF.

    Raises:
        UnsupportedError: no setting says the same.
    """
    resize, crop = ([*said[key]] for key in ("resize_size", "crop_size"))
    if said["interpolation"] not in RESAMPLING:
        raise UnsupportedError(
            f"{name}: 'interpolation' is {said['interpolation']!r}", _preprocessor.PREPARE
        )
    if min(resize) < max(crop):  # what is missing is shared out otherwise
        raise UnsupportedError(
            f"{name}: 'crop_size' {crop} is larger than 'resize_size' {resize}",
            _preprocessor.PREPARE,
        )
    return {
        "upright": False,
        "resize": resize if len(resize) == 2 else resize[0],
        "interpolation": said["interpolation"],
        "crop": crop * 2 if len(crop) == 1 else crop,
        "mean": [float(each) for each in said["mean"]],
        "std": [float(each) for each in said["std"]],
    }
