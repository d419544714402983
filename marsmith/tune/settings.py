"""Ways to serve an archive: how many workers, how large a batch, how long it waits to fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from handlers import cpu
from marsmith.recipe.sections import Serving

BATCHES = (1, 4, 8, 16, 32)
DELAYS_MS = (1, 5, 20)
MOST_WORKERS = 8  # each has a copy of the model


@dataclass(frozen=True, order=True)
class Way:
    """One way.

    Attributes:
        workers: processes, which share the cores evenly.
        batch_size: the most requests in a batch.
        delay_ms: how long a batch waits to fill.
    """

    workers: int
    batch_size: int
    delay_ms: int

    def __str__(self) -> str:
        return f"{self.workers} x {self.threads} thread(s), {self.batch_size}, {self.delay_ms} ms"

    @property
    def threads(self) -> int:
        """Of each worker, on this machine."""
        return max(1, cpu.cores() // self.workers)

    @property
    def name(self) -> str:
        """A model's name that says it."""
        return f"w{self.workers}_b{self.batch_size}_d{self.delay_ms}"

    def config(self) -> Mapping[str, int]:
        """What TorchServe is to be told."""
        return {
            "minWorkers": self.workers,
            "maxWorkers": self.workers,
            "batchSize": self.batch_size,
            "maxBatchDelay": self.delay_ms,
        }

    def serving(self) -> Mapping[str, int]:
        """The same as a recipe says it; its bound on the workers stays, where there is room."""
        said = {
            "batch_size": self.batch_size,
            "max_batch_delay_ms": self.delay_ms,
            "min_workers": self.workers,
        }
        return said | (
            {"max_workers": self.workers} if self.workers > Serving().max_workers else {}
        )


def of(serving: Serving) -> Way:
    """The way that a recipe says, or leaves at its default."""
    per_core = min(cpu.cores(), serving.max_workers) if serving.worker_per_core else 0
    workers = per_core or serving.min_workers
    return Way(workers, serving.batch_size, serving.max_batch_delay_ms)


def space(serving: Serving) -> list[Way]:
    """Every way that is worth a try on this machine, the recipe's own first.

    Workers are powers of two up to the cores, and no more than a recipe's own `max_workers`: what
    keeps the state of sequences, or lets requests join a batch, says one. A batch of one waits for
    nothing. No batch is larger than the recipe's: up to that the build has
    verified the model, and no further.

    Args:
        serving: of the recipe.
    """
    said = "max_workers" in serving.model_fields_set
    most = min(cpu.cores(), serving.max_workers if said else MOST_WORKERS)
    workers = [1]
    while workers[-1] * 2 <= most:
        workers.append(workers[-1] * 2)
    sizes = {size for size in BATCHES if size <= serving.batch_size} | {serving.batch_size}
    found = {
        Way(count, size, delay)
        for count in workers
        for size in sizes
        for delay in (DELAYS_MS if size > 1 else DELAYS_MS[:1])
    }
    own = of(serving)
    return [own, *sorted(found - {own})]
