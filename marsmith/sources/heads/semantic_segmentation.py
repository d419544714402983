"""A model that classifies pixels, as SegFormer and UPerNet do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _on_images

AUTO = "AutoModelForSemanticSegmentation"

NEAR = 1e-4  # logits that another order of sums may make equal
SHARE = 5e-4  # of an area may be pixels whose class is not sure


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model from images to logits, (N, classes, h, w)."""
    return _on_images.OnImages(model, "logits")


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers makes of images: logits, and the areas of labels that are sure."""
    model, processor = _on_images.read(folder, AUTO)
    prepares = _on_images.as_the_folder(folder, handler)
    names = handler.get("labels", _on_images.LABELS) == _on_images.LABELS
    outputs: list[tuple[torch.Tensor, ...] | None] = []
    answers: list[object] = []
    for image in _on_images.opened(instances):
        if image is None or not prepares:
            outputs.append(None)
            answers.append(None)
            continue
        with torch.inference_mode():
            found = model(**_on_images.prepared(processor, image))
        outputs.append((found.logits,))
        height, width = image.size[::-1]
        areas = {"areas": _areas(model, processor, found, (height, width))} if names else {}
        answers.append({"height": height, "width": width, **areas})
    return Untouched(answers, outputs)


def _areas(model: Any, processor: Any, found: Any, size: tuple[int, int]) -> dict[str, int]:
    """The pixels of each label, of the processor's own map; without small and doubtful ones."""
    (numbers,) = processor.post_process_semantic_segmentation(found, target_sizes=[size])
    resized = torch.nn.functional.interpolate(found.logits, size=size, mode="bilinear")
    best = resized[0].topk(min(2, resized.shape[1]), dim=0).values
    doubtful = int((best[0] - best[-1] < NEAR).sum()) if len(best) > 1 else 0
    counts = numbers.flatten().bincount().tolist()
    return {
        model.config.id2label[number]: area
        for number, area in enumerate(counts)
        if area and doubtful <= area * SHARE
    }


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the labels of config.json, and say how images are prepared."""
    return _on_images.bring(module, folder, out)
