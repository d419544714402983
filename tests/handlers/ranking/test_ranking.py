"""The best of a large catalogue: by an index as by scoring everything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handlers.errors import LoadError
from handlers.ranking.ranking import Ranking, Wish

faiss = pytest.importorskip("faiss")

ITEMS = 100_000
WIDTH = 16
USERS = 64
AGREEMENT = 0.95  # of the exact ten best, what an index must find


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random vectors around 500 centres, and an index that looks into a tenth of its cells."""
    made = tmp_path_factory.mktemp("large")
    random = np.random.default_rng(0)
    centres = random.standard_normal((500, WIDTH))
    vectors = centres[random.integers(0, 500, ITEMS)]
    vectors = (vectors + 0.5 * random.standard_normal((ITEMS, WIDTH))).astype(np.float32)
    np.save(made / "vectors.npy", vectors)
    index = faiss.index_factory(WIDTH, "IVF256,Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = 4
    index.train(vectors[:20_000])
    index.add(vectors)
    index.nprobe = 26
    faiss.write_index(index, str(made / "index.faiss"))
    return made


@pytest.fixture(scope="module")
def exact(folder: Path) -> Ranking:
    return Ranking(ITEMS, folder / "vectors.npy", None, 200)


@pytest.fixture(scope="module")
def indexed(folder: Path) -> Ranking:
    return Ranking(ITEMS, folder / "vectors.npy", folder / "index.faiss", 200)


def users() -> torch.Tensor:
    return torch.randn(USERS, WIDTH, generator=torch.Generator().manual_seed(1))


def test_an_index_finds_nearly_all_of_the_best(exact: Ranking, indexed: Ranking) -> None:
    wishes = [Wish(10)] * USERS
    pairs = zip(exact(users(), wishes), indexed(users(), wishes), strict=True)
    found = [len(set(best) & set(mine)) for (best, _), (mine, _) in pairs]
    assert sum(found) >= AGREEMENT * 10 * USERS


def test_its_candidates_are_scored_exactly(exact: Ranking, indexed: Ranking) -> None:
    assert exact.vectors is not None
    for (numbers, scores), user in zip(indexed(users(), [Wish(5)] * USERS), users(), strict=True):
        wanted = exact.vectors[numbers] @ user
        assert scores == pytest.approx(wanted.tolist(), abs=1e-4)
        assert scores == sorted(scores, reverse=True)


def test_in_company_each_finds_what_it_finds_alone(indexed: Ranking) -> None:
    every = users()
    wishes = [Wish(1 + 37 * n % 300, frozenset(range(0, 40 * n, 7))) for n in range(USERS)]
    together = indexed(every, wishes)
    for row in range(0, USERS, 5):
        (alone,) = indexed(every[row : row + 1], [wishes[row]])
        assert alone[0] == together[row][0]
        assert alone[1] == pytest.approx(together[row][1], abs=1e-4)


@pytest.mark.parametrize("seen", [0, 500, 60_000, ITEMS - 7, ITEMS])
def test_what_was_seen_makes_the_answer_no_shorter(
    exact: Ranking, indexed: Ranking, seen: int
) -> None:
    user = users()[:1]
    ((best, _),) = exact(user, [Wish(1000)])
    others = sorted(set(range(ITEMS)) - set(best))
    excluded = frozenset([*best, *others][:seen])
    ((numbers, _),) = indexed(user, [Wish(20, excluded)])
    assert len(set(numbers)) == min(20, ITEMS - seen)
    assert not excluded & set(numbers)


def test_an_index_that_gives_up_early_is_not_the_last_word(
    folder: Path, exact: Ranking, tmp_path: Path
) -> None:
    index = faiss.read_index(str(folder / "index.faiss"))
    index.nprobe = 1  # a cell of some 400 items
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    narrow = Ranking(ITEMS, folder / "vectors.npy", tmp_path / "index.faiss", 10)
    user = users()[:1]
    assert narrow(user, [Wish(1000)]) == exact(user, [Wish(1000)])


@pytest.mark.parametrize(
    ("key", "metric", "shape", "words"),
    [
        ("Flat", "METRIC_L2", (20, 4), "by inner product"),
        ("Flat", "METRIC_INNER_PRODUCT", (19, 4), r"19 vectors of 4, not of \(20, 4\)"),
        ("Flat", "METRIC_INNER_PRODUCT", (20, 5), r"20 vectors of 5, not of \(20, 4\)"),
    ],
)
def test_an_index_of_something_else_is_refused(
    tmp_path: Path, key: str, metric: str, shape: tuple[int, int], words: str
) -> None:
    np.save(tmp_path / "vectors.npy", np.ones((20, 4), np.float32))
    index = faiss.index_factory(shape[1], key, getattr(faiss, metric))
    index.add(np.ones(shape, np.float32))
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    with pytest.raises(LoadError, match=words):
        Ranking(20, tmp_path / "vectors.npy", tmp_path / "index.faiss", 10)


def test_an_index_that_is_none_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.ones((20, 4), np.float32))
    (tmp_path / "index.faiss").write_bytes(b"no index")
    for name in ("index.faiss", "missing.faiss"):
        with pytest.raises(LoadError, match=f"can't be read from {name}"):
            Ranking(20, tmp_path / "vectors.npy", tmp_path / name, 10)


def test_without_faiss_an_index_says_what_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(LoadError, match="pip install faiss-cpu"):
        Ranking(ITEMS, folder / "vectors.npy", folder / "index.faiss", 10)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((3, 2), np.int64), "a matrix of floats"),
        (np.ones(3), "a matrix of floats"),
        (np.ones((4, 2)), "4 vectors for 3 items"),
        (np.full((3, 2), np.nan), "not finite"),
        (np.array([[{}]] * 3), "can't be read"),
    ],
)
def test_vectors_that_cannot_be_used_are_refused(tmp_path: Path, array: Any, words: str) -> None:
    np.save(tmp_path / "vectors.npy", array, allow_pickle=True)
    with pytest.raises(LoadError, match=words):
        Ranking(3, tmp_path / "vectors.npy", None, 10)
