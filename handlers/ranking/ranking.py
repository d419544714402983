"""Ranking: find the best items by scoring all of them, or the candidates of an index."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from handlers.errors import LoadError, ModelError

Integers = NDArray[np.int64]
Best = tuple[list[int], list[float]]
"""The numbers of items, the best first, and their scores."""


class Index(Protocol):
    """The part of a faiss index that is used."""

    ntotal: int
    d: int
    metric_type: int

    def search(self, x: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], Integers]: ...  # noqa: D102


@dataclass(frozen=True)
class Wish:
    """How many items one user wants, and which not."""

    count: int
    excluded: Set[int] = frozenset()


class Ranking:
    """Finds each user's best items.

    Args:
        items: how many items there are.
        vectors: a `.npy` of (items, D) float vectors, whose dot products with users' vectors
            are the scores; None when the model answers the scores.
        index: a faiss index of these vectors by inner product; None scores every item.
        candidates: how many items the index is asked for, at least.

    Raises:
        LoadError: a file can't be read or doesn't fit, or faiss is missing.
    """

    def __init__(
        self, items: int, vectors: Path | None, index: Path | None, candidates: int
    ) -> None:
        self.items, self.candidates = items, candidates
        if index is not None and vectors is None:
            raise LoadError("an 'index' needs 'vectors', to score its candidates")
        self.vectors = _read_vectors(vectors, items) if vectors else None
        self.index: Index | None = None
        if index is not None:
            self.index = _read_index(index, (items, _width(self.vectors)))

    def checked(self, output: torch.Tensor, users: int) -> torch.Tensor:
        """Check a model's output, and convert it to float32.

        Args:
            output: (N, items) scores, or (N, D) users' vectors when there are `vectors`.
            users: N.

        Raises:
            ModelError: it has another shape.
        """
        wanted = self.items if self.vectors is None else _width(self.vectors)
        if output.shape != (users, wanted):
            what = "items' scores" if self.vectors is None else "users' vectors"
            raise ModelError(
                f"this recommender answers (N, {wanted}) {what}, its model {tuple(output.shape)}"
            )
        return output.float()

    def __call__(self, output: torch.Tensor, wishes: Sequence[Wish]) -> list[Best]:
        """Find the best items of each user, as many as wished or as there are.

        Args:
            output: the result of `checked`, or some of its rows.
            wishes: one for each row.

        Raises:
            ModelError: the output is not finite.
        """
        output = _finite(output)
        if self.index is not None:
            return self._among_candidates(self.index, output, wishes)
        scores = output if self.vectors is None else _finite(output @ self.vectors.T)
        return [_of_all(row, wish) for row, wish in zip(scores, wishes, strict=True)]

    def _among_candidates(
        self, index: Index, users: torch.Tensor, wishes: Sequence[Wish]
    ) -> list[Best]:
        # Each user's own number of candidates, whoever else is in the batch: it changes what an
        # index finds. Powers of two, so that one search serves many.
        groups: dict[int, list[int]] = defaultdict(list)
        for row, wish in enumerate(wishes):
            count = max(self.candidates, wish.count) + len(wish.excluded)
            groups[1 << (count - 1).bit_length()].append(row)
        found: dict[int, Best] = {}
        for count, rows in groups.items():
            proposed = self._search(index, users[rows], count)
            for row, numbers in zip(rows, proposed, strict=True):
                found[row] = self._of_candidates(users[row], numbers, wishes[row])
        return [found[row] for row in range(len(wishes))]

    def _search(self, index: Index, users: torch.Tensor, count: int) -> Integers:
        """Search for candidates: their numbers, (N, count) int64; -1 where there are no more.

        It finds none, (N, 0), where so many are wanted that scoring all items is quicker.
        """
        import faiss

        if count > self.items // 4:
            return np.empty((len(users), 0), np.int64)
        faiss.omp_set_num_threads(torch.get_num_threads())
        return index.search(users.numpy(), count)[1]

    def _of_candidates(self, user: torch.Tensor, numbers: Integers, wish: Wish) -> Best:
        kept = sorted(set(numbers.tolist()) - wish.excluded - {-1})
        vectors: torch.Tensor = self.vectors  # type: ignore[assignment]  # an index has them
        if len(kept) < min(wish.count, self.items - len(wish.excluded)):
            return _of_all(_finite(vectors @ user), wish)
        scores = _finite(vectors[torch.tensor(kept, dtype=torch.int64)] @ user)
        places, values = _best(scores, min(wish.count, len(kept)))
        return [kept[place] for place in places], values


def _of_all(scores: torch.Tensor, wish: Wish) -> Best:
    if wish.excluded:
        scores = scores.index_fill(0, torch.tensor(list(wish.excluded)), -math.inf)
    return _best(scores, min(wish.count, len(scores) - len(wish.excluded)))


def _best(scores: torch.Tensor, count: int) -> Best:
    """Find the highest scores, the first of equal ones: `topk` alone takes any of them."""
    if count == 0:
        return [], []
    values, chosen = scores.topk(min(count + 1, len(scores)))
    if len(values) > count and values[count] == values[count - 1]:
        chosen = (scores >= values[count]).nonzero()[:, 0]
    else:
        chosen = chosen[:count].sort().values
    chosen = chosen[scores[chosen].argsort(descending=True, stable=True)[:count]]
    return chosen.tolist(), scores[chosen].tolist()


def _finite(numbers: torch.Tensor) -> torch.Tensor:
    # Both bounds show a NaN, too; several times as fast as checking every number.
    if numbers.numel() and not torch.isfinite(torch.stack(numbers.aminmax())).all():
        raise ModelError("the model's answer is not finite", hint="check the input")
    return numbers


def _width(vectors: torch.Tensor | None) -> int:
    return 0 if vectors is None else vectors.shape[1]


def _read_vectors(path: Path, items: int) -> torch.Tensor:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LoadError(f"the vectors can't be read from {path.name}: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim != 2:
        raise LoadError(f"{path.name} must be a matrix of floats")
    if len(array) != items:
        raise LoadError(f"{path.name} has {len(array)} vectors for {items} items")
    if not np.isfinite(array).all():
        raise LoadError(f"{path.name} has a number in it that is not finite")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _read_index(path: Path, shape: tuple[int, int]) -> Index:
    try:
        import faiss
    except ImportError as error:
        raise LoadError("an index needs faiss", hint="pip install faiss-cpu") from error
    try:
        index: Index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise LoadError(f"the index can't be read from {path.name}: {error}") from error
    if (index.ntotal, index.d) != shape:
        raise LoadError(f"{path.name} is of {index.ntotal} vectors of {index.d}, not of {shape}")
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise LoadError(f"{path.name} must be an index by inner product")
    return index
