"""What a worker logs as lines of JSON, where the server's environment asks for that."""

from __future__ import annotations

import json
import logging
import os
import time
import traceback
from collections.abc import Iterable
from contextvars import ContextVar

FORMAT = "MARSMITH_LOG_FORMAT"
MARK = "\x1e"  # of a line that is JSON already: the server's log leaves these as they are
METRICS = "ts.metrics"  # its lines are read by TorchServe, in a form of their own

_asked: ContextVar[tuple[str, ...]] = ContextVar("asked", default=())


def begin(model: str, version: str) -> None:
    """Log in lines of JSON from now on, if the environment asks for that.

    Args:
        model: the model's name.
        version: the archive's.
    """
    if os.environ.get(FORMAT) == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines(model, version))


def about(ids: Iterable[str]) -> None:
    """Say which requests are answered now: what is logged meanwhile may be about any of them."""
    _asked.set(tuple(filter(None, ids)))


def note(error: BaseException, ids: Iterable[str]) -> None:
    """Say which requests an error is about, before it is logged."""
    error.__dict__.setdefault("request_ids", tuple(filter(None, ids)))


class JsonLines(logging.Formatter):
    """One JSON object per record, its stack in one field, in one line.

    Args:
        model: the model's name.
        version: the archive's.
    """

    def __init__(self, model: str, version: str) -> None:
        super().__init__()
        self._told = {"model": model, "version": version, "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        message = record.getMessage()
        if record.name.startswith(METRICS):
            return message
        error = record.exc_info[1] if record.exc_info else None
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{at}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            **self._told,
            "message": message,
        }
        if ids := getattr(error, "request_ids", ()) or _asked.get():
            line["request_ids"] = ids
        if error is not None:
            line["stack"] = "".join(traceback.format_exception(error))
        return MARK + json.dumps(line, default=str)
