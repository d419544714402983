"""Recommendation: what somebody has chosen so far in, what to offer next out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

from handlers import base
from handlers.errors import LoadError
from handlers.protocols import json_text
from handlers.ranking import catalogue, histories
from handlers.ranking.ranking import Best, Ranking, Wish
from handlers.runtimes import Tensors
from handlers.schema import Json, JsonObject, setting
from handlers.task import Answer, Config, Sample, similar_length


@dataclass(frozen=True, kw_only=True)
class RecommendationConfig(Config):
    """What can be recommended, what the model takes, and how items are scored."""

    catalogue: str = setting(
        "catalogue.json", "A JSON file in the archive: the list of the items' ids."
    )
    popularity: str = setting(
        "popularity.json", "A JSON file in the archive: a list of [id, count]; others count 0."
    )
    max_history: int = setting(
        50, "How many of a history's latest items the model is given, at most.", minimum=1
    )
    features: tuple[str, ...] = setting(
        (), "The names of numbers that the model takes besides the history, in its order."
    )
    vectors: str | None = setting(
        None, "A .npy file of the items' vectors; the model then answers users' vectors."
    )
    index: str | None = setting(
        None, "A faiss index of these vectors by inner product, for large catalogues."
    )
    candidates: int = setting(
        200, "How many items the index proposes, at least; the best of them are kept.", minimum=1
    )


@dataclass(frozen=True, kw_only=True)
class RecommendationOptions:
    """The options of a request."""

    top_k: int = setting(10, "How many items; fewer if there are no more.", minimum=1, maximum=1000)
    exclude_seen: bool = setting(False, "Leave out all items of the history.")
    exclude: tuple[str | int, ...] = setting((), "Ids of items to leave out.", max_items=1000)
    ignore_unknown: bool = setting(False, "Ignore ids that are not in the catalogue.")


@dataclass(frozen=True)
class Recommended(Answer):
    """The best items first, and their scores; or their counts, if they are `from_popularity`."""

    items: list[str | int]
    scores: list[float]
    from_popularity: bool


@dataclass(frozen=True)
class User:
    """What an answer depends on: the wish, and whether the model knows nothing of the user."""

    wish: Wish
    cold: bool


_Sample = Sample[RecommendationOptions, User]


class Recommendation(base.Handler[RecommendationConfig, RecommendationOptions, User]):
    """Recommends items; the model answers (N, items) scores, or (N, D) users' vectors.

    An instance is a history, a list of ids with the latest last, or an object of `history` and
    `features`, either of which may be missing; as a string, it is JSON. The model takes
    `history`, (N, T) int64 numbers of items, padded on the right with the number of items in
    the catalogue, and `features`, (N, F) float32, if the settings name some; zeros stand for
    features that weren't sent. It sees an empty history, all padding, only with features; users
    with neither get popular items.
    """

    Config = RecommendationConfig
    Options = RecommendationOptions
    Answer = Recommended

    def setup(self, folder: Path) -> None:
        """Read the catalogue, the vectors and the index."""
        config = self.config
        if len(set(config.features)) != len(config.features):
            raise LoadError("the names in 'features' must be unique")
        self.catalogue = catalogue.read(folder / config.catalogue, folder / config.popularity)
        vectors, index = (name and folder / name for name in (config.vectors, config.index))
        items = len(self.catalogue.ids)
        self.ranking = Ranking(items, vectors or None, index or None, config.candidates)

    def decode(self, instance: object, options: RecommendationOptions) -> _Sample:
        """Convert a history to the numbers of its latest items, and features to numbers."""
        history, features = histories.read(instance)
        lenient = options.ignore_unknown
        seen = self.catalogue.numbers(history, ignore_unknown=lenient)
        excluded = set(self.catalogue.numbers(options.exclude, ignore_unknown=lenient))
        if options.exclude_seen:
            excluded |= set(seen)
        cold = not seen and not features
        if cold:  # a model may break on an empty history, and its answer isn't used
            given = [self.catalogue.ranking[0]]
        else:
            given = seen[-self.config.max_history :] or [len(self.catalogue.ids)]
        tensors = {"history": torch.tensor(given)}
        numbers = histories.numbers(features, self.config.features)
        if numbers:
            tensors["features"] = torch.tensor(numbers, dtype=torch.float32)
        return Sample(tensors, options, User(Wish(options.top_k, frozenset(excluded)), cold))

    def group_key(self, sample: Sample[object, User]) -> Hashable:
        """Let histories of similar length share a batch: padding costs time, too."""
        return similar_length(len(sample.tensors["history"]))

    def collate(self, samples: Sequence[Sample[object, User]]) -> Tensors:
        """Combine histories into (N, T) int64, padded to the longest."""
        histories = [sample.tensors["history"] for sample in samples]
        padding = len(self.catalogue.ids)
        batch = {"history": pad_sequence(histories, batch_first=True, padding_value=padding)}
        if self.config.features:
            batch["features"] = torch.stack([sample.tensors["features"] for sample in samples])
        return batch

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axis of the histories' length, which differs from batch to batch."""
        return {"history": (1,)}

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[Recommended]:
        """Answer the best items of each user; the most popular where the model knows nothing."""
        warm = [row for row, sample in enumerate(samples) if not sample.meta.cold]
        output = self.ranking.checked(next(iter(outputs.values())), len(samples))
        ranked = self.ranking(output[warm], [samples[row].meta.wish for row in warm])
        best = dict(zip(warm, ranked, strict=True))
        answers: list[Recommended] = []
        for row, sample in enumerate(samples):
            cold = sample.meta.cold
            numbers, scores = self._popular(sample.meta.wish) if cold else best[row]
            items = [self.catalogue.ids[number] for number in numbers]
            answers.append(Recommended(items, scores, cold))
        return answers

    def _popular(self, wish: Wish) -> Best:
        allowed = (n for n in self.catalogue.ranking if n not in wish.excluded)
        numbers = list(islice(allowed, wish.count))
        return numbers, [self.catalogue.counts[number] for number in numbers]

    def example(self) -> tuple[str, bytes]:
        """A history of popular items."""
        history = [self.catalogue.ids[number] for number in self.catalogue.ranking[:3]]
        instance: dict[str, Json] = {"history": history}
        if self.config.features:
            instance["features"] = dict.fromkeys(self.config.features, 0.0)
        return json_text.JSON, json_text.dump(instance)

    def instance_schema(self) -> JsonObject:
        """A history, or one and features."""
        return histories.schema(self.config.features)

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be."""
        return {
            "history": "a list of ids, the latest last",
            "max_history": self.config.max_history,
            "features": list(self.config.features),
            "items": len(self.catalogue.ids),
        }
