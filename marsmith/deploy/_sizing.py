"""What a server of some archives takes of a machine: measured in TorchServe's own worker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from marsmith.deploy._archives import Deployed
from marsmith.harness.worker import Harness

SERVER_MB = 320
"""Java, HAProxy, supervisor and command: 270 measured, and room for Java to grow."""
ROOM = 1.25
"""A worker that serves takes more than one that has only warmed up."""
STEP_MB = 64
FRONT_CORES = 1


@dataclass(frozen=True)
class Size:
    """What one server takes.

    Attributes:
        memory_mb: in MiB, of its limit and its request alike: what is used is not given back.
        cores: those of its workers.
        gpus: how many it needs.
    """

    memory_mb: int
    cores: int
    gpus: int

    @property
    def most_cores(self) -> int:
        """Those of its workers, and of what stands before them."""
        return self.cores + FRONT_CORES


def measure(models: Sequence[Deployed]) -> Size:
    """Load each archive in TorchServe's own worker, which warms up, and weigh it.

    Raises:
        ArchiveError: one does not load here.
    """
    memory = float(SERVER_MB)
    cores = gpus = 0
    for model in models:
        workers, _ = model.served.replicas  # more come by `marsmith scale` alone
        memory += workers * worker_mb(model) * ROOM
        cores += workers * (model.served.threads or 1)
        gpus = max(gpus, int(model.served.gpu))
    return Size(math.ceil(memory / STEP_MB) * STEP_MB, cores, gpus)


def worker_mb(model: Deployed) -> float:
    """The memory that is a worker's own, in MiB, once it has warmed up."""
    with Harness(model.file) as harness:
        own: int = psutil.Process(harness.pid).memory_full_info().uss
    return own / 2**20
