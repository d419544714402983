"""Question answering: a question and a text in, the words of the text that answer it out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from handlers.errors import ModelError
from handlers.protocols import json_text
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, object_schema, setting
from handlers.task import Answer, Sample
from handlers.text import graphemes, spans, text, windows
from handlers.text.handler import TextHandler
from handlers.text.windows import Windows

PARTS = ("question", "context")
DECIMALS = 4  # of the scores' logarithms, by which answers are ranked
HINT = 'send {"question": "...", "context": "..."}'


@dataclass(frozen=True, kw_only=True)
class QuestionAnsweringOptions(text.TextOptions):
    """The options of a request."""

    top_k: int = setting(1, "How many answers, at most.", minimum=1, maximum=100)
    max_answer_tokens: int = setting(15, "The most tokens of an answer.", minimum=1, maximum=200)
    no_answer: bool = setting(False, "Allow the answer that there is none, an empty text.")


@dataclass(frozen=True)
class Answers(Answer):
    """Parts of the context, best first; `starts` and `ends` are in code points.

    `truncated` says that the end of the context was not read.
    """

    answers: list[str]
    scores: list[float]
    starts: list[int]
    ends: list[int]
    truncated: bool

    ragged: ClassVar[Mapping[str, tuple[int, ...]]] = dict.fromkeys(
        ("answers", "scores", "starts", "ends"), ()
    )

    def to_json(self) -> JsonObject:
        """A list with one object for each answer, and whether the context was cut."""
        rows = zip(self.answers, self.scores, self.starts, self.ends, strict=True)
        found: list[JsonObject] = [
            {"answer": answer, "score": score, "start": start, "end": end}
            for answer, score, start, end in rows
        ]
        return {"answers": found, "truncated": self.truncated}

    @classmethod
    def schema(cls) -> JsonObject:
        """Answers; `context[start:end]` is an answer, and an empty one means that there is none."""
        item = object_schema(
            {
                "answer": {"type": "string"},
                "score": {"type": "number", "minimum": 0, "maximum": 1},
                "start": {"type": "integer", "minimum": 0},
                "end": {"type": "integer", "minimum": 0},
            }
        )
        answers: JsonObject = {"type": "array", "items": item}
        return object_schema({"answers": answers, "truncated": {"type": "boolean"}})


_Sample = Sample[QuestionAnsweringOptions, Windows]


class QuestionAnswering(TextHandler[windows.WindowConfig, QuestionAnsweringOptions, Windows]):
    """Finds answers in texts; the model answers logits of where they begin and where they end.

    These are (N, T) each, or both as one (N, T, 2). An instance is an object of "question" and
    "context", a list of both, or either as JSON. A long context is read in windows, each behind
    the whole question. A special token that comes first, such as [CLS], stands for "there is no
    answer".
    """

    Config = windows.WindowConfig
    Options = QuestionAnsweringOptions
    Answer = Answers
    parts = PARTS

    def setup(self, folder: Path) -> None:
        """Read the tokenizer."""
        super().setup(folder)
        self.reader = windows.Reader(self.encoder, self.config, paired=True)

    def decode(self, instance: object, options: QuestionAnsweringOptions) -> _Sample:
        """Convert a question and a context to windows."""
        instance = text.parsed(instance, "a question needs a context, and both are JSON", HINT)
        question, context = text.read_pair(instance, PARTS, both=True)
        tensors, found = self.reader.read(question, context, truncate=options.truncate)
        return Sample(tensors, options, found)

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[Answers]:
        """Answer each question with the best parts of its context."""
        logits = [each.float() for each in outputs.values()]
        if len(logits) == 1 and logits[0].ndim == 3 and logits[0].shape[2] == 2:
            logits = list(logits[0].unbind(dim=2))
        if len(logits) < 2:
            raise ModelError("the model must answer (N, T, 2), or (N, T) twice: starts and ends")
        texts = [each.tensors for each in samples]
        starts, ends = (windows.split(each, texts, "(N, T)") for each in logits[:2])
        return [self._best(*each) for each in zip(starts, ends, samples, strict=True)]

    def _best(
        self,
        starts: torch.Tensor,
        ends: torch.Tensor,
        sample: _Sample,
    ) -> Answers:
        meta, options = sample.meta, sample.options
        found, none = spans.best(
            starts,
            ends,
            _where(meta, 1, starts.shape[1]),
            _where(meta, None, starts.shape[1]) & (torch.arange(starts.shape[1]) == 0),
            count=4 * options.top_k + 16,  # some are the same: windows share tokens
            longest=options.max_answer_tokens,
        )
        offsets = [tokens.offsets for tokens in meta.tokens]
        places = [
            (offsets[each.window][each.first][0], offsets[each.window][each.last][1])
            for each in found
        ]
        answers: dict[tuple[int, int], float] = {}
        for place, each in zip(graphemes.safe(meta.source, places), found, strict=True):
            if meta.source[slice(*place)].strip():
                answers.setdefault(place, each.score)
        if options.no_answer:
            answers[0, 0] = none
        best = sorted(answers.items(), key=_rank)[: options.top_k]
        return Answers(
            [meta.source[start:end] for (start, end), _ in best],
            [score for _, score in best],
            [start for (start, _), _ in best],
            [end for (_, end), _ in best],
            meta.truncated,
        )

    def example(self) -> tuple[str, bytes]:
        """A question, and a sentence that answers it."""
        question = "Who wrote the first program?"
        context = "The first program was written by Ada Lovelace, in 1843."
        return json_text.JSON, json_text.dump({"question": question, "context": context})

    def instance_schema(self) -> JsonObject:
        """A question and its context."""
        return {"anyOf": [*text.pair_schema(PARTS)]}

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be, and how much of it is read."""
        found = super().describe_input() | {"max_windows": self.config.max_windows}
        del found["text"]
        return {"instance": '{"question": "...", "context": "..."}, or a list of both', **found}


def _rank(answer: tuple[tuple[int, int], float]) -> tuple[float, tuple[int, int]]:
    """Rank best first, then earliest: equal scores differ in the last decimals between batches."""
    place, score = answer
    return -round(math.log(score), DECIMALS) if score > 0 else math.inf, place


def _where(meta: Windows, sequence: int | None, length: int) -> torch.Tensor:
    """Which tokens of each window are of a text: (W, length) bool; None means special tokens."""
    found = torch.zeros(len(meta.tokens), length, dtype=torch.bool)
    for row, tokens in enumerate(meta.tokens):
        found[row, : len(tokens.sequences)] = torch.tensor(
            [each == sequence for each in tokens.sequences]
        )
    return found
