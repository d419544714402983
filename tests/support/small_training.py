"""Something small to train, and the program that trains it in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from marsmith.cache import Cache
from marsmith.errors import BuildError
from marsmith.recipe.sections import Training
from marsmith.training import distributed, watching
from marsmith.training.fit import fit

BATCH_SIZE = 15  # no even number: two processes get unequal parts


class Blobs(Dataset[tuple[torch.Tensor, int]]):
    """Three clouds of points, which are elsewhere each time they are looked at."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        label = index % 3
        return torch.eye(4)[label] + 0.3 * torch.randn(4), label


class Net(nn.Module):
    """Classifies them; a part of it is never used."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)
        )
        self.unused = nn.Linear(2, 2)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(points)
        return logits


def blobs() -> Blobs:
    return Blobs()


def numbers() -> range:
    return range(64)


def endless() -> object:
    return iter(range(3))


def net(dropout: float = 0.0, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Net(dropout)


def lesson(epochs: int = 4, data: str = "blobs", **settings: object) -> Training:
    return Training.model_validate(
        {
            "data": f"tests.support.small_training:{data}",
            "epochs": epochs,
            "batch_size": BATCH_SIZE,
            "learning_rate": 0.01,
            **settings,
        }
    )


def say(line: str) -> None:
    print(line, flush=True)


def say_and_die(line: str) -> None:
    """The process is killed in the midst of its training, however busy the machine is."""
    say(line)
    if line.startswith("epoch 2 "):
        os.kill(os.getpid(), signal.SIGKILL)


def main(what: str, folder: Path) -> None:
    watching.BEAT_S, watching.SILENCE_S = 0.5, 5.0
    with distributed.group():
        rank = distributed.rank()
        if what == "die":
            distributed.barrier()
            if rank == 1:
                raise ValueError("the second process has had enough")
            distributed.share(lambda: b"nobody listens")
            distributed.barrier()
        if what == "wait":
            distributed.barrier()
            say("all are here")
            while True:
                distributed.barrier()
                time.sleep(0.1)
        if what == "agree":
            assert distributed.furthest(rank) == 1
            assert distributed.furthest(7) == distributed.furthest(-1) == 0
            assert distributed.share(lambda: bytes([rank]) * 3, 1) == bytes([1] * 3)
            assert distributed.alike(b"one")
            assert not distributed.alike(bytes([rank]))
            assert distributed.share(lambda: b"") == b""
            assert distributed.share(lambda: None) is None
            assert distributed.share(lambda: bytes([rank]) * 3) == bytes(3)
            assert distributed.total(rank + 1.5) == 4
            with pytest.raises(BuildError, match="different training data or settings"):
                fit(net(), lesson(seed=rank), Cache(folder), "unlike", say)
        # The others' own weights don't count.
        module = net(seed=rank) if what == "agree" else net(dropout=0.5)
        fit(module, lesson(), Cache(folder), "net", say_and_die if what == "killed" else say)
        if what == "agree":
            torch.save(module.state_dict(), folder / f"rank-{rank}.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
