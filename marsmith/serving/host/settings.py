"""What an archive says of how it is served, in its `model-config.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from marsmith.archive.reading import glance
from marsmith.recipe.sections import Serving
from marsmith.serving.host import memory
from marsmith.serving.host.plan import ModelPlan

SPARE_S = 10.0
"""An answer is waited for by so much longer than a batch may take: its turn in TorchServe."""
ROUNDS = 2
"""A worker's next batch waits beside the one that it answers; all else waits in the front."""
DEFAULT_RESPONSE_S = 120
"""What config.properties says for archives that don't."""
WORKER_BYTES = 300_000_000
"""What a worker takes without its model."""
MOST = 2**31 - 1
"""Java's largest int; a larger number is none to TorchServe."""
MOST_S = 1e6
"""HAProxy counts milliseconds in as much, and waits for two batches."""
VERSION = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def read(name: str, archive: Path) -> ModelPlan:
    """Read how a model is to be served.

    What an archive doesn't say, or not in a way that TorchServe would understand, is as in a
    recipe that doesn't say it.

    Args:
        name: the model's.
        archive: a .mar file.

    Raises:
        ArchiveError: it is not a sound one.
    """
    said = glance(archive)
    config, version = said.config, str(said.model.get("modelVersion", ""))
    # Archives of marsmith have it; what they carry reads forms that come as bytes.
    front = config.get("front")
    limits = front if isinstance(front, dict) else {}
    # Its handler refuses what is beyond this, too; the front does it before Java has read it.
    said_of_handler = config.get("handler") if limits else None
    handler = said_of_handler if isinstance(said_of_handler, dict) else {}
    usual = Serving()
    response_s = _number(config, "responseTimeout", DEFAULT_RESPONSE_S, MOST_S)
    most = int(_number(config, "jobQueueSize", usual.job_queue_size))
    batch, workers = int(_number(config, "batchSize", 1)), int(_number(config, "minWorkers", 1))
    per_core = limits.get("worker_per_core") is True
    if per_core:
        workers = _for_each_core(archive, int(_number(config, "maxWorkers", usual.max_workers)))
    return ModelPlan(
        name=name,
        version=version if VERSION.fullmatch(version) else "unknown",
        workers=workers if per_core else None,
        at_once=at_once(batch, workers, most),
        most=most,
        max_body_bytes=int(_number(limits, "max_body_bytes", usual.max_body_bytes)),
        queue_timeout_s=_number(limits, "queue_timeout_s", response_s, MOST_S),
        response_timeout_s=ROUNDS * response_s + SPARE_S,
        reads_forms=isinstance(front, dict),
        speaks_openai=limits.get("openai") is True,
        max_json_bytes=int(_number(handler, "max_json_bytes", 0)) or None,
    )


def at_once(batch_size: int, workers: int, most: int) -> int:
    """How many requests of a model TorchServe gets at once; all else waits in the front.

    Args:
        batch_size: the model's.
        workers: how many it has; who has none may have one soon.
        most: how many may be on their way at all; TorchServe's own queue is no longer.
    """
    return max(1, min(most, ROUNDS * batch_size * max(1, workers)))


def _for_each_core(archive: Path, most: int) -> int:
    """A worker for each core, as far as half of the free memory goes."""
    from handlers import cpu  # a program may have a package of that name, and no such archive

    return max(1, min(cpu.cores(), most, room(archive)))


def room(archive: Path) -> int:
    """How many workers of a model half of the free memory takes."""
    each = WORKER_BYTES + 2 * archive.stat().st_size  # the file, and what an engine makes of it
    return memory.free() // 2 // each


def _number(said: Mapping[str, object], key: str, otherwise: float, most: float = MOST) -> float:
    value = said.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= most:
        return float(value)
    return float(otherwise)
