"""Time runtimes side by side: warmed up, on the same inputs, in turns; medians count.

Who is far behind after one round is timed no longer; who may be the fastest, until that is sure.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import psutil
import torch

from handlers import cpu
from handlers.runtimes import Runtime, Tensors
from marsmith.recipe.sections import Recipe
from marsmith.report.measurements import EQUAL, Timed, Timing

ROUNDS, MOST_ROUNDS = 5, 20
TURN_SECONDS = 0.2  # for one runtime at one batch size, in one round
CALLS = (2, 200)  # in a turn, at least and at most
HOPELESS = 2.0
"""Times the fastest at every batch size, after one round."""

Turns = dict[tuple[str, int], list[list[float]]]
"""The seconds of each call in each turn, by contender and batch size."""


def compare(
    contenders: Mapping[str, Runtime],
    inputs: Mapping[int, Sequence[Tensors]],
    decides: int = 1,
    original: str = "",
) -> tuple[dict[str, Timing], Timed]:
    """Time runtimes in turns, so that a busy moment of the machine hits all of them.

    Args:
        contenders: runtimes by name.
        inputs: some batches of size 1 and of one other size, which are used in order.
        decides: the batch size at which the order of the fastest has to be sure.
        original: the contender that the others are compared with: it isn't a rival of theirs.

    Returns:
        Timings by the same names, and how sure their order is.
    """
    turns: Turns = {(name, size): [] for name in contenders for size in inputs}

    def race(names: Sequence[str], sizes: Sequence[int]) -> None:
        for name in names:
            for size in sizes:
                batches, done = inputs[size], turns[name, size]
                # At first every shape twice: an engine may prepare itself for each.
                warm_up = batches[:1] if done else 2 * _one_of_each_shape(batches)
                done.append(_turn(contenders[name], batches, warm_up))

    rivals = [name for name in contenders if name != original]
    with _others() as others:
        race(list(contenders), list(inputs))
        hopeful = _hopeful(turns, rivals, list(inputs))
        for _ in range(ROUNDS - 1):
            race([name for name in contenders if name == original or name in hopeful], list(inputs))
        best, unsure = undecided(turns, hopeful, decides)
        close, rounds = [best, *unsure], ROUNDS
        while unsure and rounds < MOST_ROUNDS:
            race(close, [decides])
            best, unsure = undecided(turns, close, decides)
            rounds += 1
    seconds = {key: [each for turn in done for each in turn] for key, done in turns.items()}
    largest = max(inputs)
    return {
        name: Timing(
            p50_ms=round(statistics.median(seconds[name, 1]) * 1e3, 4),
            samples_per_s=round(largest / statistics.median(seconds[name, largest]), 2),
            batch_size=largest,
            threads=torch.get_num_threads(),
            p99_ms=round(_percentile(seconds[name, largest], 0.99) * 1e3, 4),
        )
        for name in contenders
    }, Timed(rounds, (best, *unsure) if unsure else (), others())


def _hopeful(turns: Turns, names: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Those that at some size are not far behind, by each one's fastest call."""
    fastest = {
        (n, s): min(call for turn in turns[n, s] for call in turn) for n in names for s in sizes
    }
    best = {size: min(fastest[name, size] for name in names) for size in sizes}
    return [n for n in names if any(fastest[n, s] <= HOPELESS * best[s] for s in sizes)]


def undecided(turns: Turns, names: Sequence[str], size: int) -> tuple[str, list[str]]:
    """What looks the fastest, and those that may be faster by more than equals are.

    Each is held against the fastest round by round, as a busy moment hits both. It may be faster
    if the median of the ratios, less twice its standard error, is less than equals have.

    Args:
        turns: two at least, and as many of each.
        names: the contenders.
        size: of the batches that decide.
    """
    medians = {name: [statistics.median(turn) for turn in turns[name, size]] for name in names}
    best = min(names, key=lambda name: statistics.median(medians[name]))
    unsure = []
    for name in names:
        ratios = [mine / its for mine, its in zip(medians[name], medians[best], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        error = 0.93 * (high - low) / math.sqrt(len(ratios))  # as far as they scatter normally
        if name != best and middle - 2 * error < 1 / EQUAL:
            unsure.append(name)
    return best, unsure


def _one_of_each_shape(batches: Sequence[Tensors]) -> list[Tensors]:
    shapes = {tuple((n, t.shape, t.dtype) for n, t in batch.items()): batch for batch in batches}
    return list(shapes.values())


@contextmanager
def _others() -> Iterator[Callable[[], float | None]]:
    """Watch the cores that other processes take; None where this one may not use all of them."""

    def taken() -> tuple[float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # A guest's time is in the user's, too.
        every = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return every - idle - sum(os.times()[:4]), time.perf_counter()

    before, began = taken()

    def since() -> float | None:
        now, ended = taken()
        mine = cpu.cores() == os.cpu_count()
        return round(max(0.0, (now - before) / (ended - began)), 2) if mine else None

    yield since


def as_by_default(runtime: Runtime, device: torch.device) -> Runtime:
    """A runtime with PyTorch's own settings: on NVIDIA's GPUs, convolutions in TF32."""

    def run(inputs: Tensors) -> Tensors:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
            return runtime(inputs)

    return run if device.type == "cuda" else runtime


def _percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def _turn(runtime: Runtime, batches: Sequence[Tensors], warm_up: Sequence[Tensors]) -> list[float]:
    for batch in warm_up:
        runtime(batch)
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < CALLS[0] or (
        len(seconds) < CALLS[1] and time.perf_counter() - began < TURN_SECONDS
    ):
        start = time.perf_counter()
        _wait_for(runtime(batches[len(seconds) % len(batches)]))
        seconds.append(time.perf_counter() - start)
    return seconds


def _wait_for(outputs: Tensors) -> None:
    """Wait until outputs are there: a call returns before an accelerator has made them."""
    for tensor in outputs.values():
        if tensor.device.type != "cpu":
            torch.accelerator.synchronize(tensor.device)


@contextmanager
def threads(recipe: Recipe) -> Iterator[int]:
    """Give torch, for the block, as many threads as each worker will have."""
    before = torch.get_num_threads()
    share = cpu.cores() // recipe.serving.min_workers
    said = recipe.handler.get("threads")
    count = said if isinstance(said, int) and said else max(1, share)
    torch.set_num_threads(count)
    try:
        yield count
    finally:
        torch.set_num_threads(before)
