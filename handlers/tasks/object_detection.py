"""Object detection: an encoded image in, what is in it and where out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from handlers import labels
from handlers.errors import ModelError
from handlers.images import boxes, detectors, handler
from handlers.images.detectors import Finds
from handlers.images.pixels import Placement
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, object_schema, setting
from handlers.task import Answer, Sample


@dataclass(frozen=True, kw_only=True)
class ObjectDetectionConfig(handler.ImageConfig):
    """How an image becomes the model's input, and what the model's outputs mean.

    The outputs have these names, or else this order:

    - raw: `boxes` (N, A, 4) and `scores` (N, A, classes), or both as one (N, A, 4 + classes).
      Boxes of one class that overlap are one find.
    - detr: `logits` (N, A, classes + 1), the last for nothing, and `pred_boxes` (N, A, 4), which
      are always centre, width and height, in fractions.
    - final: `boxes` (N, A, 4), `scores` (N, A) and `labels` (N, A), the numbers of classes;
      padding has a score of 0.
    """

    labels: str | None = setting(None, "A JSON file in the archive: a list of unique names.")
    outputs: detectors.Form = setting("raw", "What the model answers: raw, detr or final.")
    box_format: boxes.Format = setting("xyxy", "Corners; or centre, width and height.")
    box_units: boxes.Units = setting("pixels", "Of the model's input; or fractions of it.")
    activation: detectors.Activation = setting("none", "What turns raw scores into probabilities.")


@dataclass(frozen=True, kw_only=True)
class ObjectDetectionOptions:
    """The options of a request."""

    score_threshold: float = setting(0.3, "The lowest score to answer.", minimum=0, maximum=1)
    iou_threshold: float = setting(
        0.5,
        "Raw outputs: boxes of one label that share more than this of their union are one find.",
        minimum=0,
        maximum=1,
    )
    max_detections: int = setting(100, "The most to answer.", minimum=1, maximum=1000)


@dataclass(frozen=True)
class Detections(Answer):
    """What was found, best first; boxes are in pixels of the original image."""

    labels: list[str]
    scores: list[float]
    boxes: list[list[float]]

    ragged: ClassVar[Mapping[str, tuple[int, ...]]] = {"labels": (), "scores": (), "boxes": (4,)}

    def to_json(self) -> list[JsonObject]:
        """A list with one object for each find."""
        finds = zip(self.labels, self.scores, self.boxes, strict=True)
        return [{"label": label, "score": score, "box": box} for label, score, box in finds]

    @classmethod
    def schema(cls) -> JsonObject:
        """A list of finds; a box is left, top, right, bottom."""
        number: JsonObject = {"type": "number", "minimum": 0}
        box: JsonObject = {"type": "array", "items": number, "minItems": 4, "maxItems": 4}
        find = object_schema({"label": {"type": "string"}, "score": number, "box": box})
        return {"type": "array", "items": find}


_Sample = Sample[ObjectDetectionOptions, Placement]


class ObjectDetection(handler.ImageHandler[ObjectDetectionConfig, ObjectDetectionOptions]):
    """Finds objects; for what the model answers, see `ObjectDetectionConfig`.

    Only the best `boxes.MAX_CANDIDATES` scores of an image count, however low the threshold.
    """

    Config = ObjectDetectionConfig
    Options = ObjectDetectionOptions
    Answer = Detections

    def setup(self, folder: Path) -> None:
        """Read the labels."""
        super().setup(folder)
        self.labels = labels.read(folder / self.config.labels) if self.config.labels else None

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[Detections]:
        """Answer the best finds of each image, with boxes in the original."""
        height, width = samples[0].tensors["image"].shape[-2:]
        finds = detectors.read(outputs, self.config, (width, height))
        names = self.labels
        if finds.count is not None:
            names = labels.of(names, finds.count)
        return [self._best(finds, row, sample, names) for row, sample in enumerate(samples)]

    def _best(
        self,
        finds: Finds,
        row: int,
        sample: _Sample,
        names: list[str] | None,
    ) -> Detections:
        options, (_, _, per_box) = sample.options, finds.scores.shape
        scores = finds.scores[row].flatten()
        chosen = boxes.candidates(scores, options.score_threshold)
        where = chosen // per_box
        classes = finds.classes[row][where, chosen % per_box]
        corners = sample.meta.to_original(finds.boxes[row][where])
        raw = self.config.outputs == "raw"
        kept = boxes.suppress(
            corners,
            classes,
            iou_threshold=options.iou_threshold if raw else 1.0,
            limit=options.max_detections,
        )
        return Detections(
            [_name(number, names) for number in classes[kept].tolist()],
            scores[chosen[kept]].tolist(),
            corners[kept].tolist(),
        )


def _name(number: int, names: list[str] | None) -> str:
    if names is None:
        return str(number)
    if not 0 <= number < len(names):
        raise ModelError(f"the model answered class {number}, and there are {len(names)} labels")
    return names[number]
