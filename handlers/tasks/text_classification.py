"""Text classification: a text, or a pair, in, the most likely labels and their scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from handlers import labels
from handlers.errors import ModelError
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, object_schema, setting
from handlers.task import Answer, Sample
from handlers.text import text
from handlers.text.handler import TextHandler, length
from handlers.text.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class TextClassificationConfig(text.TextConfig):
    """How a text becomes tokens, and logits become scores."""

    labels: str | None = setting(None, "A JSON file in the archive: a list of unique names.")
    activation: Literal["softmax", "sigmoid", "none"] = setting(
        "softmax",
        "How logits become scores: softmax where one label is right, sigmoid where any number of "
        "them is; none for measurements in any range.",
    )


@dataclass(frozen=True, kw_only=True)
class TextClassificationOptions(text.TextOptions):
    """The options of a request."""

    top_k: int = setting(5, "How many labels to answer; at most all there are.", minimum=1)


@dataclass(frozen=True)
class TextLabels(Answer):
    """The most likely labels, best first, and their scores.

    `tokens` is how many the model was given; `truncated` says that there were more.
    """

    labels: list[str]
    scores: list[float]
    tokens: int
    truncated: bool

    def to_json(self) -> JsonObject:
        """Label to score, best first, and how much of the text was read."""
        scores = dict(zip(self.labels, self.scores, strict=True))
        return {"scores": scores, "tokens": self.tokens, "truncated": self.truncated}

    @classmethod
    def schema(cls) -> JsonObject:
        """An object with an object of labels and scores, in [0, 1] if they are probabilities."""
        return object_schema(
            {
                "scores": {"type": "object", "additionalProperties": {"type": "number"}},
                "tokens": {"type": "integer", "minimum": 1},
                "truncated": {"type": "boolean"},
            }
        )


_Sample = Sample[TextClassificationOptions, Tokens]


class TextClassification(TextHandler[TextClassificationConfig, TextClassificationOptions, Tokens]):
    """Classifies texts; the model answers (N, classes) logits.

    An instance is a string, or bytes of UTF-8; a pair is an object of "text" and "text_pair", or
    a list of both.
    """

    Config = TextClassificationConfig
    Options = TextClassificationOptions
    Answer = TextLabels
    parts = text.PAIR

    def setup(self, folder: Path) -> None:
        """Read the tokenizer and the labels."""
        super().setup(folder)
        self.labels = labels.read(folder / self.config.labels) if self.config.labels else None

    def decode(self, instance: object, options: TextClassificationOptions) -> _Sample:
        """Convert one text, or two, to tokens; the longer of two is cut first."""
        first, second = text.read_pair(instance)
        tensors, tokens = self.encoder.encode(first, truncate=options.truncate, pair=second)
        return Sample(tensors, options, tokens)

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[TextLabels]:
        """Compute scores, and take the `top_k` of each."""
        scores, order = self._scores(outputs).sort(dim=1, descending=True, stable=True)
        names = labels.of(self.labels, scores.shape[1])
        answers: list[TextLabels] = []
        for best, values, sample in zip(order.tolist(), scores.tolist(), samples, strict=True):
            k = sample.options.top_k
            found = [names[index] for index in best[:k]]
            tokens, truncated = length(sample.tensors), sample.meta.truncated
            answers.append(TextLabels(found, values[:k], tokens, truncated))
        return answers

    def _scores(self, outputs: Tensors) -> torch.Tensor:
        logits = next(iter(outputs.values())).float()
        if logits.ndim != 2:
            raise ModelError(f"a classifier answers (N, classes), this one {tuple(logits.shape)}")
        if self.config.activation == "sigmoid":
            return torch.sigmoid(logits)
        if self.config.activation == "none":
            return logits
        if logits.shape[1] < 2:  # softmax makes a single logit 1, whatever it is
            raise ModelError(
                "softmax needs two labels or more, and the model answers one",
                hint="set another 'activation'",
            )
        return torch.softmax(logits, dim=1)

    def instance_schema(self) -> JsonObject:
        """A text, or two."""
        return {"anyOf": [text.SCHEMA, *text.pair_schema()]}

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be."""
        pair = '{"text": "...", "text_pair": "..."}, or a list of both'
        return {**super().describe_input(), "pair": pair}
