"""A detector like DETR, RT-DETR or YOLOS: a fixed number of boxes, and no two of one object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from marsmith.errors import UnsupportedError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _on_images

AUTO = "AutoModelForObjectDetection"

THRESHOLD = 0.5  # of transformers' own pipeline
MOST = 1000  # finds that a request may ask for
NEAR = 1e-5  # scores that another order of sums may put on the other side of each other
RAW = {
    "outputs": "raw",
    "activation": "sigmoid",
    "box_format": "cxcywh",
    "box_units": "fraction",
}
# How the logits of a type become scores: over all classes and one for nothing, or each by itself.
OUTPUTS: dict[str, Mapping[str, object]] = {
    "detr": {"outputs": "detr"},
    "yolos": {"outputs": "detr"},
    "rt_detr": RAW,
}


class Detector(torch.nn.Module):
    """A detector from images to logits, (N, A, classes), and boxes, (N, A, 4).

    Boxes are a centre, a width and a height, in fractions of the image.

    Args:
        model: one of transformers'.
        boxes_first: the order in which a handler reads the two.
    """

    def __init__(self, model: torch.nn.Module, *, boxes_first: bool) -> None:
        super().__init__()
        self.model, self.boxes_first = model, boxes_first

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Run normalised images, (N, 3, H, W) float32."""
        found = self.model(pixel_values=image)
        if self.boxes_first:
            return found.pred_boxes, found.logits
        return found.logits, found.pred_boxes


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model in Detector.

    Raises:
        UnsupportedError: it is not known how its logits become scores.
    """
    return Detector(model, boxes_first=_settings(model.config, folder) is RAW)


def _settings(config: Any, folder: Path) -> Mapping[str, object]:
    if config.model_type not in OUTPUTS:
        raise UnsupportedError(
            f"{folder.name} is a detector of type {config.model_type!r}; those that are known are"
            f" {', '.join(OUTPUTS)}",
            "bring a 'source.factory', and say in 'handler:' what its outputs mean",
        )
    return OUTPUTS[config.model_type]


def _defaults(config: Any) -> dict[str, object]:
    """The options of transformers' own pipeline, which answers all above a threshold."""
    queries = getattr(config, "num_queries", None) or config.num_detection_tokens
    return {
        "score_threshold": THRESHOLD,
        "iou_threshold": 1.0,
        "max_detections": min(MOST, int(queries)),
    }


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers makes of images: logits, boxes and, of them, finds.

    Of finds whose order or number another order of sums might change nothing is said.
    """
    model, processor = _on_images.read(folder, AUTO)
    settings, prepares = _settings(model.config, folder), _on_images.as_the_folder(folder, handler)
    said = {**settings, "labels": _on_images.LABELS, "defaults": _defaults(model.config)}
    names = all(handler.get(name, value) == value for name, value in said.items())
    outputs: list[tuple[torch.Tensor, ...] | None] = []
    answers: list[object] = []
    for image in _on_images.opened(instances):
        if image is None or not prepares:
            outputs.append(None)
            answers.append(None)
            continue
        with torch.inference_mode():
            found = model(**_on_images.prepared(processor, image))
        both = found.pred_boxes, found.logits
        outputs.append(both if settings is RAW else both[::-1])
        answers.append(_finds(model, processor, found, image.size) if names else None)
    return Untouched(answers, outputs)


def _finds(model: Any, processor: Any, found: Any, size: tuple[int, int]) -> object:
    """What the processor itself finds above the threshold; None where scores are too near."""
    (every,) = processor.post_process_object_detection(
        found, threshold=0.0, target_sizes=[size[::-1]]
    )
    scores, order = every["scores"].sort(descending=True)
    edges = torch.tensor(size * 2, dtype=torch.float32)
    boxes = every["boxes"][order].clamp(min=torch.zeros(4), max=edges)
    count = int((scores > THRESHOLD).sum())
    limits = torch.cat([scores[: count + 1], torch.tensor([THRESHOLD])]).sort().values
    if (limits.diff() < NEAR).any():
        return None
    numbers = every["labels"][order].tolist()
    return [
        {"label": model.config.id2label[number], "score": float(score), "box": box.tolist()}
        for number, score, box in zip(numbers[:count], scores, boxes, strict=False)
        if box[2] > box[0] and box[3] > box[1]
    ]


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the labels of config.json; say how images are prepared and what the outputs mean."""
    config: Any = module.get_submodule("model").config
    return {
        **_on_images.bring(module, folder, out),
        **_settings(config, folder),
        "defaults": _defaults(config),
    }
