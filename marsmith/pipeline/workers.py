"""Which answers more: one worker of all cores, or one of a single core for each of them.

Measured as served, but for Java: in TorchServe's own workers, with the whole way of a request.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from handlers import cpu, device
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.recipe.sections import Recipe, Serving
from marsmith.report.measurements import Workers
from marsmith.serving.host import memory
from marsmith.verify.evaluation import Data

ROUNDS = 3
TURN_S = 0.5
TIMEOUT_S = 300.0


def compare(
    archive: Path,
    data: Data,
    serving: Serving,
    say: Callable[[str], None],
) -> Workers | None:
    """Ask one worker of all cores, and some that share them, in turns.

    Args:
        archive: a `.mar`.
        data: has the requests.
        serving: what the recipe says of workers.
        say: takes what was found.

    Returns:
        What they have answered; None where the recipe, the cores or the memory leave no choice.

    Raises:
        ArchiveError: it doesn't load, or doesn't answer.
    """
    count = _undecided(serving, archive)
    if not count:
        return None
    with ExitStack() as stack:
        shares = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (shares / archive.stem).write_text(str(count), "ascii")
        alone, share = {"PYTHONPATH": ""}, {"PYTHONPATH": "", device.WORKERS: str(shares)}
        every = [Harness(archive, env=e, timeout_s=TIMEOUT_S) for e in (alone, *[share] * count)]
        pool = stack.enter_context(ThreadPoolExecutor(len(every)))
        one, *others = pool.map(stack.enter_context, every)
        requests = [Request.raw(body, data.media_type) for body in data.bodies]

        def rate(workers: Sequence[Harness]) -> float:
            return sum(pool.map(lambda each: _rate(each, requests), workers))

        rate([one]), rate(others)  # warmed up
        rounds = [(rate([one]), rate(others)) for _ in range(ROUNDS)]
    together, apart = (statistics.median(each) for each in zip(*rounds, strict=True))
    found = Workers(count=count, together_per_s=round(together, 2), apart_per_s=round(apart, 2))
    said = f"{count} workers of one core each answer {found.gain:.2f} times as much as one of all"
    say(f"{said}: {'one for each core' if found.per_core else 'one worker'}")
    return found


def per_core(recipe: Recipe) -> Recipe:
    """The recipe, with a worker for each core of the machine that serves it."""
    serving = recipe.serving.model_copy(update={"worker_per_core": True})
    return recipe.model_copy(update={"serving": serving})


def _undecided(serving: Serving, archive: Path) -> int:
    """How many workers may share the cores, where the recipe has left that open; 0 otherwise."""
    if serving.model_fields_set & {"min_workers", "worker_per_core"}:
        return 0
    count = min(cpu.cores(), serving.max_workers)  # it is 1 where there is something to keep
    needed = 2 * archive.stat().st_size * (count + 1)  # the file, and what an engine makes of it
    return count if count > 1 and needed < memory.free() / 2 else 0


def _rate(worker: Harness, requests: Sequence[Request]) -> float:
    """The requests that a worker answers in a second, batch after batch."""
    size, began, answered = worker.batch_size, time.monotonic(), 0
    turn = itertools.cycle(requests)
    while time.monotonic() - began < TURN_S:
        batch = [replace(next(turn), request_id=str(n)) for n in range(size)]
        answered += len(worker.predict(batch))
    return answered / (time.monotonic() - began)
