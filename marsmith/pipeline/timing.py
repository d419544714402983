"""Time runtimes side by side: warmed up, on the same inputs, in turns; medians count."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from handlers import cpu
from handlers.runtimes import Runtime, Tensors
from marsmith.recipe.sections import Recipe
from marsmith.report.measurements import Timing

ROUNDS = 5
TURN_SECONDS = 0.2  # for one runtime at one batch size, in one round
CALLS = (2, 200)  # in a turn, at least and at most


def compare(
    contenders: Mapping[str, Runtime], inputs: Mapping[int, Sequence[Tensors]]
) -> dict[str, Timing]:
    """Time runtimes in turns, so that a busy moment of the machine hits all of them.

    Args:
        contenders: runtimes by name.
        inputs: some batches of size 1 and of one other size, which are used in order.

    Returns:
        Timings by the same names.
    """
    seconds: dict[tuple[str, int], list[float]] = {}
    for turn in range(ROUNDS):
        for name, runtime in contenders.items():
            for size, batches in inputs.items():
                # At first every shape: an engine may prepare itself for each.
                calls = _turn(runtime, batches, batches[:1] if turn else [*batches, *batches])
                seconds.setdefault((name, size), []).extend(calls)
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
    }


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
