"""Text classification: a text, or a pair of them, in, the most likely labels and scores out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from handlers import base, batching, payload
from handlers.batching import Sample
from handlers.errors import ModelError
from handlers.inputs import text
from handlers.inputs.tokens import Encoder, length
from handlers.outputs import labels
from handlers.runtimes import Tensors
from handlers.schema import setting


@dataclass(frozen=True, kw_only=True)
class Config(text.Config):
    """How a text becomes tokens, and logits become scores."""

    labels: str | None = setting(None, "A JSON file in the archive: a list of unique names.")
    activation: Literal["softmax", "sigmoid", "none"] = setting(
        "softmax",
        "How logits become scores: of labels of which one is right (softmax), or any number "
        "(sigmoid); none for what is measured, in any range.",
    )


@dataclass(frozen=True, kw_only=True)
class Options(text.Options):
    """What a request may ask for."""

    top_k: int = setting(5, "How many labels to answer; at most all there are.", minimum=1)


@dataclass(frozen=True)
class Classification(payload.Answer):
    """The most likely labels, best first, and their scores.

    `tokens` is how many the model was given, `truncated` that there were more.
    """

    labels: list[str]
    scores: list[float]
    tokens: int
    truncated: bool

    def to_json(self) -> dict[str, Any]:
        """Label to score, best first, and how much of the text was read."""
        scores = dict(zip(self.labels, self.scores, strict=True))
        return {"scores": scores, "tokens": self.tokens, "truncated": self.truncated}

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """An object of labels and scores among the rest; in [0, 1] if they are probabilities."""
        scores = {"type": "object", "additionalProperties": {"type": "number"}}
        tokens = {"type": "integer", "minimum": 1}
        properties = {"scores": scores, "tokens": tokens, "truncated": {"type": "boolean"}}
        return {"type": "object", "properties": properties, "required": list(properties)}


class TextClassification(base.Handler[Config]):
    """Classifies texts; the model answers (N, classes) logits.

    An instance is a string, or bytes of UTF-8; a pair is an object of "text" and "text_pair", or
    a list of both. The model takes input_ids and attention_mask, (N, T) int64, and token_type_ids
    if the settings say so.
    """

    Config = Config
    Options = Options
    Answer = Classification
    parts = text.PAIR

    def setup(self, folder: Path) -> None:
        """Read the tokenizer and the labels."""
        self.encoder = Encoder(folder / self.config.tokenizer, self.config)
        self.labels = labels.read(folder / self.config.labels) if self.config.labels else None

    def screen(self, instances: Sequence[Any]) -> None:
        """Refuse a request of more than `max_characters`."""
        text.check_together(instances, max_characters=self.config.max_characters)

    def decode(self, instance: Any, options: Any) -> Sample:
        """One text, or two, to tokens; of two the longer is cut first."""
        first, second = text.read_pair(instance)
        return self.encoder.encode(first, options, pair=second)

    def group_key(self, sample: Sample) -> Hashable:
        """Texts of about one length share a batch: padding is work, too."""
        return batching.similar_length(length(sample))

    def collate(self, samples: Sequence[Sample]) -> Tensors:
        """Tokens to (N, T) int64, padded to the longest."""
        return self.encoder.pad(samples)

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The length differs from batch to batch."""
        return self.encoder.varying_axes

    def answer(self, outputs: Tensors, samples: Sequence[Sample]) -> list[payload.Answer]:
        """Scores, then the `top_k` of each."""
        scores, order = self._scores(outputs).sort(dim=1, descending=True, stable=True)
        names = labels.of(self.labels, scores.shape[1])
        answers: list[payload.Answer] = []
        for best, values, sample in zip(order.tolist(), scores.tolist(), samples, strict=True):
            k = sample.options.top_k
            found = [names[index] for index in best[:k]]
            tokens, truncated = length(sample), sample.meta.truncated
            answers.append(Classification(found, values[:k], tokens, truncated))
        return answers

    def _scores(self, outputs: Tensors) -> torch.Tensor:
        logits = next(iter(outputs.values())).float()
        if logits.ndim != 2:
            raise ModelError(f"a classifier answers (N, classes), this one {tuple(logits.shape)}")
        if self.config.activation == "sigmoid":
            return torch.sigmoid(logits)
        if self.config.activation == "none":
            return logits
        if logits.shape[1] < 2:  # of one, softmax makes 1, whatever it was
            raise ModelError("one number for each text is no softmax: say another 'activation'")
        return torch.softmax(logits, dim=1)

    def example(self) -> tuple[str, bytes]:
        """A sentence."""
        return "text/plain", b"A model is only as useful as the people who can ask it something."

    def describe_input(self) -> dict[str, Any]:
        """What an instance may be."""
        return {
            "text": "a string, or UTF-8 bytes",
            "pair": '{"text": "...", "text_pair": "..."}, or a list of both',
            "max_tokens": self.config.max_tokens,
            "max_characters": self.config.max_characters,
        }
