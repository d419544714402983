"""Shorten a worker's traceback to a few lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

TRACEBACK_LINES = 15
# What ts/model_service_worker.py prints when a load fails, and last of all when it dies.
LOAD_FAILED = re.compile(r"Failed to load model \S+, exception|Load model \S+ (cpu|cuda) OOM")
WORKER_DIED = "Backend worker process died."
# The frames that every traceback of a worker begins with, and the folder that a model's own files
# are extracted to.
OWN_FRAME = re.compile(
    r'  File "(.*/ts/(model_service_worker|model_loader)|.*/importlib/__init__|<frozen importlib)'
)
MODEL_FOLDER = re.compile(r'(?<=")/.*/models/[0-9a-f]{32}/')

EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(?::\s.*)?")
LOADER_FALLBACK = "No module named 'ts.torch_handler."


def tells_of_failure(line: str) -> bool:
    """Whether a worker's line says that its load failed or that the worker died."""
    return bool(LOAD_FAILED.match(line)) or line == WORKER_DIED


def shorten_traceback(lines: Sequence[str]) -> tuple[str, list[str]]:
    """Shorten a worker's traceback to its cause.

    Args:
        lines: what the worker printed, from the line that reports the failure on.

    Returns:
        The line of the most specific exception, and the last lines of the traceback.
    """
    body = list(lines[1:])
    # A failed load is reported twice, the second time as the worker's death: keep the first.
    if WORKER_DIED in body:
        body = body[: body.index(WORKER_DIED)]
    exceptions = list(_exceptions(body))
    # When an import fails, TorchServe looks for the handler among its own, and fails again: the
    # import that failed first is what matters.
    while len(exceptions) > 1 and LOADER_FALLBACK in body[exceptions[-1]]:
        body = body[: exceptions[-2] + 1]
        exceptions.pop()
    headline = body[exceptions[-1]] if exceptions else lines[0]
    return headline, _without_own_frames(body)[-TRACEBACK_LINES:]


def _without_own_frames(lines: Sequence[str]) -> list[str]:
    """Leave out TorchServe's own frames, the marks under lines and the path of the model folder."""
    kept, own = [], False
    for line in lines:
        if line.startswith('  File "'):
            own = bool(OWN_FRAME.match(line))
        elif not line.startswith("    "):
            own = False
        if not own and line.strip(" ^~"):
            kept.append(MODEL_FOLDER.sub("", line))
    return kept


def _exceptions(lines: Sequence[str]) -> Iterable[int]:
    """Yield where a traceback names its exception: the first unindented line after its frames."""
    inside = False
    for index, line in enumerate(lines):
        if line.startswith("Traceback (most recent call last):"):
            inside = True
        elif inside and EXCEPTION.fullmatch(line):
            inside = False
            yield index
