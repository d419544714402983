"""Image classification: an encoded image in, the most likely labels and their scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from handlers import explanations, labels
from handlers.explanations import Explainer
from handlers.images import handler, heat_maps
from handlers.images.pixels import Placement
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, setting
from handlers.task import Answer, Sample


@dataclass(frozen=True, kw_only=True)
class ImageClassificationConfig(handler.ImageConfig):
    """How an image becomes the model's input, and the names of classes."""

    labels: str | None = setting(None, "A JSON file in the archive: a list of unique names.")
    activation: Literal["softmax", "sigmoid"] = setting(
        "softmax", "What makes scores of logits: sigmoid where an image may have several labels."
    )


@dataclass(frozen=True, kw_only=True)
class ImageClassificationOptions:
    """The options of a request."""

    top_k: int = setting(5, "How many labels to answer; at most all there are.", minimum=1)


@dataclass(frozen=True)
class ImageLabels(Answer):
    """The most likely labels, best first, and their probabilities in [0, 1]."""

    labels: list[str]
    scores: list[float]

    def to_json(self) -> dict[str, float]:
        """Label to probability, best first: the shape of TorchServe's own image_classifier."""
        return dict(zip(self.labels, self.scores, strict=True))

    @classmethod
    def schema(cls) -> JsonObject:
        """An object of labels and probabilities."""
        score: JsonObject = {"type": "number", "minimum": 0, "maximum": 1}
        return {"type": "object", "additionalProperties": score}


_Sample = Sample[ImageClassificationOptions, Placement]


class ImageClassification(
    handler.ImageHandler[ImageClassificationConfig, ImageClassificationOptions],
    Explainer[Placement],
):
    """Classifies images; the model answers (N, classes) logits."""

    Config = ImageClassificationConfig
    Options = ImageClassificationOptions
    Answer = ImageLabels
    Explanation = heat_maps.HeatMap

    def setup(self, folder: Path) -> None:
        """Read the labels."""
        super().setup(folder)
        self.labels = labels.read(folder / self.config.labels) if self.config.labels else None

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[ImageLabels]:
        """Apply softmax, or sigmoid, and take the `top_k` of each."""
        scores = labels.ACTIVATIONS[self.config.activation](labels.logits(outputs).float())
        counts = [sample.options.top_k for sample in samples]
        return [ImageLabels(*each) for each in labels.best(scores, self.labels, counts)]

    def explainer(self) -> Explainer[Placement]:
        """Return itself."""
        return self

    def targets(
        self,
        outputs: Tensors,
        samples: Sequence[Sample[explanations.ExplanationOptions, Placement]],
    ) -> torch.Tensor:
        """The class that a request names, or else the likeliest."""
        logits = labels.logits(outputs)
        names = labels.of(self.labels, logits.shape[1])
        return explanations.classes(logits.argmax(dim=1), names, samples)

    def windows(self, inputs: Tensors) -> dict[str, tuple[int, ...]]:
        """Squares of all channels."""
        return heat_maps.windows(inputs, self.channel_axis)

    def baselines(self, inputs: Tensors) -> Tensors:
        """The mean colour: 0 of normalised images."""
        if self.config.input_dtype == "float32":
            return {}
        white = 255 / self.config.pixel_range
        colour = torch.tensor([each * white for each in self.mean]).round().clamp(0, 255)
        first = colour.to(torch.uint8).view(1, -1, 1, 1).movedim(1, self.channel_axis)
        return {"image": first.expand_as(inputs["image"][:1])}

    def explanation(
        self,
        attributions: Tensors,
        targets: torch.Tensor,
        samples: Sequence[Sample[explanations.ExplanationOptions, Placement]],
    ) -> list[heat_maps.HeatMap]:
        """A heat map of each image, as the model saw it."""
        names = self.labels or [str(index) for index in range(int(targets.max()) + 1)]
        maps = attributions["image"].movedim(self.channel_axis, 1)
        return [
            heat_maps.of(each, names[target], sample.meta)
            for each, target, sample in zip(maps, targets.tolist(), samples, strict=True)
        ]
