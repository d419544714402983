"""Where a worker runs: which GPU, if any, and its share of the cores."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

import torch

from handlers import cpu
from handlers.errors import LoadError

logger = logging.getLogger(__name__)

WORKERS = "MARSMITH_WORKERS"


def choose(gpu_id: int | None) -> torch.device:
    """The GPU that TorchServe gave this worker; the CPU when it gave none.

    Raises:
        LoadError: CUDA doesn't have that GPU.
    """
    if gpu_id is None:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        logger.warning("GPU %d was given, but this torch can't use it: running on the CPU", gpu_id)
        return torch.device("cpu")
    if not 0 <= gpu_id < torch.cuda.device_count():
        raise LoadError(f"no GPU {gpu_id} here; there are {torch.cuda.device_count()}")
    torch.cuda.set_device(gpu_id)
    return torch.device("cuda", gpu_id)


def share(model_name: str, workers: int) -> int:
    """The cores for each worker of a model.

    Args:
        model_name: the model's; a server that has scaled it has said so in a file of that name, in
            the folder that the environment names.
        workers: how many there are otherwise.
    """
    with suppress(KeyError, OSError, ValueError):  # it was never scaled, or not by marsmith
        workers = int(Path(os.environ[WORKERS], model_name).read_text("ascii"))
    return max(1, cpu.cores() // max(1, workers))


def exit_if_lost(device: torch.device) -> None:
    """End the worker when its GPU no longer answers, so that TorchServe starts a new one.

    After a device-side assertion every CUDA call of the process fails, and TorchServe would
    answer 507 for ever: it restarts only workers that have ended.
    """
    if device.type != "cuda":
        return
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        logger.critical("the GPU no longer answers: ending this worker", exc_info=True)
        logging.shutdown()
        os._exit(1)
