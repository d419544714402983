"""Where a worker runs: which GPU or other accelerator, if any, and its share of the cores."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

import torch

from handlers import cpu
from handlers.errors import LoadError

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")
WORKERS = "MARSMITH_WORKERS"


def choose(gpu_id: int | None) -> torch.device:
    """The GPU that TorchServe gave this worker; the CPU when it gave none.

    Raises:
        LoadError: torch's accelerator doesn't have that one.
    """
    if gpu_id is None:
        return CPU
    kind = accelerator()
    if kind is None:
        logger.warning("GPU %d was given, but this torch can't use it: running on the CPU", gpu_id)
        return CPU
    if not 0 <= gpu_id < torch.accelerator.device_count():
        raise LoadError(f"no GPU {gpu_id} here; there are {torch.accelerator.device_count()}")
    torch.get_device_module(kind).set_device(gpu_id)
    # float32 is float32, and answers are those of a CPU; by default PyTorch rounds what goes into
    # a convolution to 10 bits of mantissa. Who wants less chooses fp16 or bf16.
    torch.backends.cudnn.allow_tf32 = False
    return torch.device(kind, gpu_id)


def accelerator() -> str | None:
    """The kind of accelerator that torch can use here: "cuda", "xpu" …; None where there is none.

    Apple's "mps" counts for none: there is nothing to choose among, and float64 is missing.
    """
    if not torch.accelerator.is_available():
        return None
    found = torch.accelerator.current_accelerator()
    return found.type if found and found.type != "mps" else None


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

    After a device-side assertion every call of CUDA in the process fails, and TorchServe would
    answer 507 for ever: it restarts only workers that have ended.
    """
    if device.type == "cpu":
        return
    try:
        torch.accelerator.synchronize(device)
    except RuntimeError:
        logger.critical("the GPU no longer answers: ending this worker", exc_info=True)
        logging.shutdown()
        os._exit(1)
