"""Detectors: read the usual forms of their outputs into one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from handlers.errors import ModelError
from handlers.images import boxes
from handlers.labels import ACTIVATIONS
from handlers.runtimes import Tensors

Form = Literal["raw", "detr", "final"]
Activation = Literal["none", "sigmoid", "softmax"]
Size = tuple[int, int]


class Settings(Protocol):
    """The meaning of a detector's outputs; see `object_detection.ObjectDetectionConfig`."""

    @property
    def outputs(self) -> Form: ...  # noqa: D102

    @property
    def box_format(self) -> boxes.Format: ...  # noqa: D102

    @property
    def box_units(self) -> boxes.Units: ...  # noqa: D102

    @property
    def activation(self) -> Activation: ...  # noqa: D102


@dataclass(frozen=True)
class Finds:
    """All that a detector found in a batch.

    Attributes:
        boxes: (N, A, 4) float32, left, top, right, bottom in pixels of the model's input.
        scores: (N, A, S) float32.
        classes: (N, A, S) int64; the class of each score.
        count: how many classes there are; None where the outputs don't say.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor
    count: int | None


def read(outputs: Tensors, settings: Settings, size: Size) -> Finds:
    """Read a detector's outputs.

    Args:
        outputs: the outputs for a batch.
        settings: their meaning.
        size: the model's input's (width, height).

    Raises:
        ModelError: they don't fit the settings, or a score is not finite.
    """
    finds = FORMS[settings.outputs](outputs, settings, size)
    if not torch.isfinite(finds.scores).all():
        raise ModelError("the model's scores are not finite", hint="check the input")
    return finds


def _raw(outputs: Tensors, settings: Settings, size: Size) -> Finds:
    if len(outputs) == 1:
        (both,) = outputs.values()
        if both.dim() != 3 or both.shape[2] < 5:
            raise _misfit("(N, A, 4 + classes)", [both])
        found, scores = both[..., :4], both[..., 4:]
    else:
        found, scores = _take(outputs, ("boxes", "scores"), "boxes (N, A, 4), scores (N, A, C)")
        if not _boxes_of(found, scores) or scores.dim() != 3 or not scores.shape[2]:
            raise _misfit("boxes (N, A, 4), scores (N, A, C)", [found, scores])
    corners = boxes.to_corners(found.float(), settings.box_format, settings.box_units, size)
    scores = ACTIVATIONS[settings.activation](scores.float())
    classes = torch.arange(scores.shape[2]).expand(scores.shape)
    return Finds(corners, scores, classes, scores.shape[2])


def _detr(outputs: Tensors, settings: Settings, size: Size) -> Finds:
    form = "logits (N, A, classes + 1), pred_boxes (N, A, 4)"
    logits, found = _take(outputs, ("logits", "pred_boxes"), form)
    if not _boxes_of(found, logits) or logits.dim() != 3 or logits.shape[2] < 2:
        raise _misfit(form, [logits, found])
    corners = boxes.to_corners(found.float(), "cxcywh", "fraction", size)
    something = torch.softmax(logits.float(), dim=-1)[..., :-1]
    scores, classes = something.max(dim=-1, keepdim=True)
    return Finds(corners, scores, classes, something.shape[2])


def _final(outputs: Tensors, settings: Settings, size: Size) -> Finds:
    form = "boxes (N, A, 4), scores (N, A), labels (N, A)"
    found, scores, classes = _take(outputs, ("boxes", "scores", "labels"), form)
    if not _boxes_of(found, scores) or not scores.shape == classes.shape == found.shape[:2]:
        raise _misfit(form, [found, scores, classes])
    corners = boxes.to_corners(found.float(), settings.box_format, settings.box_units, size)
    return Finds(corners, scores.float()[..., None], classes.long()[..., None], None)


FORMS: dict[Form, Callable[[Tensors, Settings, Size], Finds]] = {
    "raw": _raw,
    "detr": _detr,
    "final": _final,
}


def _take(outputs: Tensors, names: tuple[str, ...], form: str) -> list[torch.Tensor]:
    """Outputs by their names, or else by their order."""
    if all(name in outputs for name in names):
        return [outputs[name] for name in names]
    if len(outputs) < len(names):
        raise _misfit(form, list(outputs.values()))
    return list(outputs.values())[: len(names)]


def _boxes_of(found: torch.Tensor, scores: torch.Tensor) -> bool:
    return found.dim() == 3 and found.shape[2] == 4 and found.shape[:2] == scores.shape[:2]


def _misfit(form: str, outputs: list[torch.Tensor]) -> ModelError:
    shapes = ", ".join(str(tuple(output.shape)) for output in outputs)
    return ModelError(f"this archive's model must answer {form}, not {shapes}")
