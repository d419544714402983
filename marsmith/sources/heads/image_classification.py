"""A classifier of images."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from marsmith.errors import UnsupportedError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _on_images

AUTO = "AutoModelForImageClassification"


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model from images to logits, (N, classes)."""
    return _on_images.OnImages(model, "logits")


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers makes of images: logits, and its pipeline's scores."""
    model, processor = _on_images.read(folder, AUTO)
    transformers: Any = importlib.import_module("transformers")
    ask = transformers.pipeline("image-classification", model=model, image_processor=processor)
    said = {"labels": _on_images.LABELS, "activation": _activation(model.config)}
    prepares = _on_images.as_the_folder(folder, handler)
    names = all(handler.get(name, value) == value for name, value in said.items())
    outputs: list[tuple[torch.Tensor, ...] | None] = []
    answers: list[object] = []
    for image in _on_images.opened(instances):
        if image is None or not prepares:
            outputs.append(None)
            answers.append(None)
            continue
        with torch.inference_mode():
            outputs.append((model(**_on_images.prepared(processor, image)).logits,))
        found = ask(image, top_k=model.config.num_labels) if names else []
        answers.append({each["label"]: each["score"] for each in found} or None)
    return Untouched(answers, outputs)


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the labels of config.json, and say how images are prepared and logits become scores.

    Raises:
        UnsupportedError: the model is a regression.
    """
    config: Any = module.get_submodule("model").config
    if config.problem_type == "regression":
        raise UnsupportedError(
            f"{folder.name} is a regression, whose numbers are no scores of labels",
            "serve it with a handler of your own: `marsmith new` writes one",
        )
    return {**_on_images.bring(module, folder, out), "activation": _activation(config)}


def _activation(config: Any) -> str:
    """The activation that transformers' own pipeline chooses."""
    many = config.problem_type == "multi_label_classification"
    return "sigmoid" if many or config.num_labels == 1 else "softmax"
