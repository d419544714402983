"""Shared by tasks that ask a model about several pairs of texts, each a row of its batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from handlers.errors import BadRequest, ModelError
from handlers.runtimes import Tensors
from handlers.task import O, Sample
from handlers.text import text
from handlers.text.cutting import Truncation
from handlers.text.handler import TextHandler
from handlers.text.tokens import STEP

C = TypeVar("C", bound=text.TextConfig)
Pair = tuple[str, str]


@dataclass(frozen=True)
class Pairs:
    """What an answer needs of an instance's pairs.

    Attributes:
        texts: what each pair has for itself: a document, a label.
        tokens: how many tokens the model is given, of all pairs.
        truncated: whether one of them was cut.
    """

    texts: list[str]
    tokens: int
    truncated: bool


class PairsHandler(TextHandler[C, O, Pairs]):
    """A task whose instances are several pairs. A subclass implements `repeated`, too.

    The model answers one row for each pair, (N, classes).
    """

    @abstractmethod
    def repeated(self, instance: object) -> tuple[str, int]:
        """The text that is in each pair of an instance, and how many pairs there are; 0 if none."""

    def screen(self, instances: Sequence[object]) -> None:
        """Refuse a request of too many pairs, or too many characters in all its pairs."""
        found = [self.repeated(instance) for instance in instances]
        count = sum(pairs for _, pairs in found)
        if count > self.config.max_instances:
            raise BadRequest(
                f"{count} pairs of texts in one request; at most {self.config.max_instances} are "
                "allowed",
                status=413,
            )
        # Each pair has all of the text, and all of it is tokenised.
        again = [[each] * (pairs - 1) for each, pairs in found]
        super().screen([*instances, *again])

    def encoded(
        self,
        pairs: Sequence[Pair],
        texts: list[str],
        *,
        truncate: bool,
        truncation: Truncation = "longest_first",
    ) -> tuple[Tensors, Pairs]:
        """Convert pairs to tokens: (pairs, T) int64.

        Args:
            pairs: two texts each.
            texts: see `Pairs`.
            truncate: whether a pair may be cut.
            truncation: which of two is cut.
        """
        found = [
            self.encoder.encode(one, pair=other, truncate=truncate, truncation=truncation)
            for one, other in pairs
        ]
        tokens = sum(len(each.tensors["input_ids"]) for each in found)
        truncated = any(each.tokens.truncated for each in found)
        tensors = self.encoder.pad([each.tensors for each in found])
        return tensors, Pairs(texts, tokens, truncated)

    def inference(self, batch: Tensors) -> Tensors:
        """Run the model on at most `batch_size` rows at once, the longest first.

        Rows that are run together are cut to the longest of them: padding costs time, too.
        """
        lengths = batch["attention_mask"].sum(dim=1)
        if len(lengths) <= self.batch_size:
            return super().inference(batch)
        order = lengths.argsort(descending=True, stable=True)
        found: list[Tensors] = []
        for rows in order.split(self.batch_size):
            longest = -(-int(lengths[rows[0]]) // STEP) * STEP
            found.append(
                super().inference({name: each[rows, :longest] for name, each in batch.items()})
            )
        back = order.argsort()
        return {name: torch.cat([each[name] for each in found])[back] for name in found[0]}


def logits(outputs: Tensors, samples: Sequence[Sample[object, Pairs]]) -> list[torch.Tensor]:
    """Split a model's first output by instance: (pairs, classes) float32 each.

    Raises:
        ModelError: it has another shape.
    """
    found = next(iter(outputs.values())).float()
    found = found[:, None] if found.ndim == 1 else found
    counts = [len(each.meta.texts) for each in samples]
    if found.ndim != 2 or len(found) != sum(counts):
        raise ModelError(
            f"the model must answer (N, classes) to {sum(counts)} pairs, not {tuple(found.shape)}"
        )
    return list(found.split(counts))
