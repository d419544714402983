"""Runs a target on inputs, and keeps what must not happen: one file for each kind of it."""

from __future__ import annotations

import hashlib
import random
import resource
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from handlers import by_name
from tests.fuzz import targets

FOUND = Path(__file__).parent / "found"
MOST_SECONDS = 8.0  # of the CPU, for one input; on a busy machine, too
MOST_MEMORY = 600 << 10  # KiB that one input may add to the most that there ever was
SMALL = 64 << 10  # bytes of an input that is kept in git


class Target(Protocol):
    """A module of `tests.fuzz.targets`."""

    def seeds(self) -> list[bytes]: ...

    def run(self, data: bytes) -> None: ...

    def mutate(self, data: bytes, random_: random.Random) -> bytes: ...


class CostsTooMuchError(Exception):
    """An input costs more than any may."""


@dataclass
class Watched:
    """A target, what it was given so far, and what came of that.

    Attributes:
        name: the target's.
        into: where inputs that were found are written.
        inputs: how many were run.
        found: what happened, by what tells it from others.
    """

    name: str
    into: Path
    inputs: int = 0
    found: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.target: Target = load(self.name)

    def run(self, data: bytes) -> None:
        """Run the target on an input; what is found is written down, and fuzzing goes on."""
        self.inputs += 1
        began, before = time.process_time(), _peak()
        try:
            self.target.run(data)
            seconds, grown = time.process_time() - began, _peak() - before
            if seconds > MOST_SECONDS or (self.inputs > 1 and grown > MOST_MEMORY):
                raise CostsTooMuchError(
                    f"{seconds:.1f} s of the CPU, {grown >> 10} MiB more than ever"
                )
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            self._keep(data, error)

    def _keep(self, data: bytes, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{Path(each.filename).name}:{each.name}" for each in frames[:-4:-1])
        key = f"{type(error).__name__} in {where}"
        if key in self.found:
            return
        self.found[key] = "".join(traceback.format_exception(error))
        name = hashlib.sha256(data).hexdigest()[:12]
        self.into.mkdir(parents=True, exist_ok=True)
        (self.into / name).write_bytes(data)
        (self.into / f"{name}.txt").write_text(f"{key}\n{self.found[key]}")


def load(name: str) -> Target:
    """The target of that name."""
    return cast(Target, by_name.find(targets.__name__, name, "the target"))


def known() -> list[str]:
    """The names of all targets."""
    return by_name.known(targets.__name__)


def kept(name: str) -> list[bytes]:
    """The inputs of a target that were once found."""
    return [file.read_bytes() for file in sorted((FOUND / name).glob("*"))]


def inputs(name: str, count: int, seed: int = 0) -> Iterator[bytes]:
    """What was found, the seeds, and as many inputs that are made of these, always the same."""
    target, random_ = load(name), random.Random(seed)
    begun = [*kept(name), *target.seeds()]
    yield from begun
    for _ in range(count):
        data = random_.choice(begun)
        for _ in range(random_.choice((1, 1, 2, 3))):
            data = target.mutate(data, random_)
        yield data


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
