"""What a Python file imports next: real histories, from the sources of Python and of PyTorch.

A user is a file, its history what it imports, from the top down; an item is a module, or a name
in one. The files are read and never executed. Both come with every installation, so nothing is
downloaded; another version of either has slightly other files.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import random
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

SEED = 0
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
MAX_BYTES = 100_000  # of a file; the few larger ones take half of the time
RARE = 3  # what fewer of the training's files import is no item
HELD_OUT = 5  # every fifth file
LONG = 4  # known imports that a held-out file has at least; the last is to be found
MAX_HISTORY = 50
EPOCHS = 12

History = tuple[str, ...]


class NextImport(nn.Module):
    """Histories to users' vectors: (N, T) int64 -> (N, width + 1).

    Args:
        items: how many there are; also the number that pads histories.
        width: of vectors; the last number of an item's is its bias, of a user's 1.
    """

    def __init__(self, items: int, width: int = 64) -> None:
        super().__init__()
        self.items = items
        self.given = nn.Embedding(items + 1, width, padding_idx=items)
        self.offered = nn.Embedding(items, width + 1)
        nn.init.normal_(self.given.weight[:items], std=0.1)  # what pads stays 0
        nn.init.normal_(self.offered.weight, std=0.1)
        self.taste = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(2 * width, 2 * width),
            nn.GELU(),
            nn.Dropout(0.5),
            nn.Linear(2 * width, width),
        )

    def forward(self, history: torch.Tensor) -> torch.Tensor:
        """From the mean of a history and its latest item, in company as alone."""
        count = (history != self.items).sum(dim=1, keepdim=True).clamp(min=1)
        mean = self.given(history).sum(dim=1) / count
        latest = self.given(history.gather(1, count - 1)[:, 0])
        user = self.taste(torch.cat([mean, latest], dim=1))
        return torch.cat([user, torch.ones_like(user[:, :1])], dim=1)


def model() -> nn.Module:
    """The untrained model."""
    return NextImport(len(items()))


@cache
def files() -> list[History]:
    """What each file imports, none of it twice; no two files the same, in an order of chance."""
    torch_folder = importlib.util.find_spec("torch").submodule_search_locations[0]  # type: ignore[union-attr,index]
    roots = [(Path(sysconfig.get_path("stdlib")), ()), (Path(torch_folder), ("torch",))]
    found: dict[History, None] = {}
    for root, package in roots:
        for path in sorted(root.rglob("*.py")):
            inner = path.relative_to(root).parts[:-1]
            if not SKIPPED & set(inner) and path.stat().st_size <= MAX_BYTES:
                found[imports_of(path.read_bytes(), (*package, *inner))] = None
    histories = sorted(found)
    random.Random(SEED).shuffle(histories)  # noqa: S311 - no secret
    return histories


def imports_of(source: bytes, package: Sequence[str]) -> History:
    """The absolute names of what a file imports as it is imported itself, in order.

    Args:
        source: the file's; of one that this Python can't read, nothing.
        package: of the file, by which relative imports are told.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes in what others have written
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            return ()
    names: list[str] = []
    for node in _executed(tree.body):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = [*above, node.module] if node.module else above
            names += [".".join([*base, alias.name]) for alias in node.names]
    return tuple(dict.fromkeys(names))


def _executed(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        for part in ("body", "orelse", "finalbody", "handlers"):
            if isinstance(node, (ast.If, ast.Try, ast.With, ast.ExceptHandler)):
                yield from _executed(getattr(node, part, []))


@cache
def items() -> dict[str, int]:
    """What can be recommended, and how many of the training's files import it; by name."""
    counts = Counter(name for history in _training() for name in history)
    return {name: counts[name] for name in sorted(counts) if counts[name] >= RARE}


def _training() -> list[History]:
    return [history for place, history in enumerate(files()) if place % HELD_OUT]


def _known(history: History) -> list[str]:
    return [name for name in history if name in items()]


def train(module: nn.Module) -> None:
    """Train in place on every next import of the training's files: some ten seconds."""
    numbers = {name: number for number, name in enumerate(items())}
    known = [torch.tensor([numbers[name] for name in _known(each)]) for each in _training()]
    pairs = [(e[max(0, n - MAX_HISTORY) : n], e[n]) for e in known for n in range(1, len(e))]
    histories = pad_sequence([each for each, _ in pairs], True, len(numbers))
    targets = torch.stack([target for _, target in pairs])
    offered: torch.Tensor = module.offered.weight  # type: ignore[union-attr,assignment]
    torch.manual_seed(SEED)
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=0.05)
    steps = EPOCHS * -(-len(pairs) // 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    module.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(pairs)).split(256):
            scores = module(histories[chosen]) @ offered.T
            loss = nn.functional.cross_entropy(scores, targets[chosen], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


def assets(module: nn.Module, folder: Path) -> None:
    """Write what travels with the model: the catalogue, what is popular, and items' vectors."""
    popular = sorted(items().items(), key=lambda each: -each[1])
    (folder / "catalogue.json").write_text(json.dumps(list(items())))
    (folder / "popularity.json").write_text(json.dumps(popular))
    offered: torch.Tensor = module.offered.weight  # type: ignore[union-attr,assignment]
    np.save(folder / "vectors.npy", offered.detach().numpy())


def held_out() -> list[tuple[bytes, list[str]]]:
    """Of files that training never saw: all imports but the last, and the last."""
    known = [_known(history) for history in files()[::HELD_OUT]]
    return [
        (json.dumps({"history": each[:-1]}).encode(), each[-1:])
        for each in known
        if len(each) >= LONG
    ]


def by_popularity() -> list[dict[str, list[str]]]:
    """The baseline: for each held-out file, the ten most popular items that it hasn't yet."""
    popular = sorted(items(), key=lambda name: -items()[name])
    answers = []
    for body, _ in held_out():
        seen = set(json.loads(body)["history"])
        answers.append({"items": [name for name in popular if name not in seen][:10]})
    return answers


def main() -> None:
    """Print a request body and what it should be answered with among the first."""
    body, (following,) = held_out()[0]
    print(body.decode())
    print(following)


if __name__ == "__main__":
    main()
