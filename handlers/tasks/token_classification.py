"""Token classification: a text in, the names, dates or other entities in it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from handlers import labels
from handlers.errors import ModelError
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, object_schema, setting
from handlers.task import Answer, Sample
from handlers.text import entities, graphemes, text, windows, words
from handlers.text.handler import TextHandler
from handlers.text.windows import Windows


@dataclass(frozen=True, kw_only=True)
class TokenClassificationConfig(windows.WindowConfig):
    """How a text becomes tokens, and the names of their labels."""

    labels: str | None = setting(None, "A JSON file in the archive: a list of unique names.")


@dataclass(frozen=True, kw_only=True)
class TokenClassificationOptions(text.TextOptions):
    """The options of a request."""

    aggregation: entities.Aggregation | None = setting(
        None,
        "How tokens become entities: each is one (none), equal labels are joined (simple), "
        "or words are labelled first: by their first token, their average or their surest (max); "
        "by default simple where labels have prefixes, such as B-PER and I-PER, else none.",
    )
    score_threshold: float = setting(0.0, "The lowest score to answer.", minimum=0, maximum=1)


@dataclass(frozen=True)
class Entities(Answer):
    """What was found, in the order of the text; `starts` and `ends` are in code points.

    Blanks alone are no entity, and no entity splits what people see as one character. A score is
    a probability, or the mean of several tokens'. `truncated` says that the end of the text was
    not read.
    """

    labels: list[str]
    scores: list[float]
    starts: list[int]
    ends: list[int]
    texts: list[str]
    truncated: bool

    ragged: ClassVar[Mapping[str, tuple[int, ...]]] = dict.fromkeys(
        ("labels", "scores", "starts", "ends", "texts"), ()
    )

    def to_json(self) -> JsonObject:
        """A list with one object for each find, and whether the text was cut."""
        rows = zip(self.labels, self.scores, self.starts, self.ends, self.texts, strict=True)
        finds: list[JsonObject] = [
            {"label": label, "score": score, "start": start, "end": end, "text": text}
            for label, score, start, end, text in rows
        ]
        return {"entities": finds, "truncated": self.truncated}

    @classmethod
    def schema(cls) -> JsonObject:
        """Entities; `text[start:end]` of the request's text is an entity's `text`."""
        item = object_schema(
            {
                "label": {"type": "string"},
                "score": {"type": "number", "minimum": 0, "maximum": 1},
                "start": {"type": "integer", "minimum": 0},
                "end": {"type": "integer", "minimum": 0},
                "text": {"type": "string"},
            }
        )
        entities: JsonObject = {"type": "array", "items": item}
        return object_schema({"entities": entities, "truncated": {"type": "boolean"}})


_Sample = Sample[TokenClassificationOptions, Windows]


class TokenClassification(
    TextHandler[TokenClassificationConfig, TokenClassificationOptions, Windows]
):
    """Finds entities; the model answers logits of each token's labels, (N, T, classes).

    An instance is a string, or bytes of UTF-8. A long text is read in windows: where two overlap,
    a token is labelled in the one in which it is farther from the edge.
    """

    Config = TokenClassificationConfig
    Options = TokenClassificationOptions
    Answer = Entities

    def setup(self, folder: Path) -> None:
        """Read the tokenizer and the labels."""
        super().setup(folder)
        self.reader = windows.Reader(self.encoder, self.config)
        self.words = words.Words(self.encoder.tokenizer)
        self.names = labels.read(folder / self.config.labels) if self.config.labels else None

    def decode(self, instance: object, options: TokenClassificationOptions) -> _Sample:
        """Convert a text to its windows."""
        tensors, found = self.reader.read(text.read(instance), truncate=options.truncate)
        return Sample(tensors, options, found)

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[Entities]:
        """Answer the entities of each text, and where they are in it."""
        logits = next(iter(outputs.values())).float()
        scores = windows.split(
            torch.softmax(logits, dim=-1), [each.tensors for each in samples], "(N, T, classes)"
        )
        names = entities.Labels(labels.of(self.names, logits.shape[2]))
        return [self._found(*each, names) for each in zip(scores, samples, strict=True)]

    def _found(
        self,
        scores: torch.Tensor,
        sample: _Sample,
        names: entities.Labels,
    ) -> Entities:
        meta, options = sample.meta, sample.options
        rows, columns = windows.once(meta)
        spans = [meta.tokens[row].offsets[at] for row, at in zip(rows, columns, strict=True)]
        usual: entities.Aggregation = "simple" if names.prefixed else "none"
        how: entities.Aggregation = options.aggregation or usual
        begins: list[bool] = []
        if how not in ("none", "simple"):
            ids = sample.tensors["input_ids"][rows, columns].tolist()
            begins = self.words.begin(ids, spans, meta.source)
        each = scores[rows, columns]
        if not torch.isfinite(each).all():  # NaN would give the first label
            raise ModelError("the model's answer is not finite", hint="check the input")
        finds = [
            entity
            for entity in entities.decode(each.numpy(), spans, begins, names, how)
            if entity.score >= options.score_threshold
        ]
        safe = graphemes.safe(meta.source, [(find.start, find.end) for find in finds])
        finds = [
            replace(find, start=start, end=end)
            for find, (start, end) in zip(finds, safe, strict=True)
            if meta.source[start:end].strip()
        ]
        finds = finds if how == "none" else entities.apart(finds)
        return Entities(
            [find.label for find in finds],
            [find.score for find in finds],
            [find.start for find in finds],
            [find.end for find in finds],
            [meta.source[find.start : find.end] for find in finds],
            meta.truncated,
        )

    def example(self) -> tuple[str, bytes]:
        """A sentence with a name, a place, a date and a sum in it."""
        return (
            "text/plain",
            b"Ada Lovelace was born in London on 10 December 1815 and paid 25.50 EUR.",
        )

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be, and how much of it is read."""
        return {**super().describe_input(), "max_windows": self.config.max_windows}
