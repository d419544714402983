"""What can go wrong at serve time, and what the client or the operator learns of it.

HandlerError
├── BadRequest   the client's fault: a 4xx for one request, its neighbours never notice
├── ModelError   the model's fault: a 5xx for one request, found by splitting its batch
└── LoadError    the archive's fault: the worker reports it and does not start
"""

from __future__ import annotations

import logging
from http import HTTPStatus

logger = logging.getLogger(__name__)

# Whatever a task or a model may raise. `exit()` in somebody's code would end the worker, and every
# request that it has, without a word.
RAISED = (Exception, SystemExit, KeyboardInterrupt)


class HandlerError(Exception):
    """The root of every error that a handler raises on purpose.

    Args:
        message: what was wrong, and what is allowed.
        hint: what to do about it; empty when the message says it all.
        status: the HTTP status that the request gets.
    """

    default_status = 500

    def __init__(self, message: str, *, hint: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = HTTPStatus(self.default_status if status is None else status)


class BadRequest(HandlerError):  # noqa: N818 - HTTP's own name for it
    """A request that can't be served as it is.

    400: it can't be read; 413: it is too large; 415: its medium is not supported;
    422: it can be read, and its content is not allowed.
    """

    default_status = 400


class ModelError(HandlerError):
    """The model failed on this input, or gave an answer that can't be sent."""


class LoadError(HandlerError, RuntimeError):
    """An archive that can't be loaded.

    A RuntimeError, because for any other a TorchServe worker dies without a reply and is
    restarted for minutes. See: `TorchModelServiceWorker.load_model` in TorchServe 0.12.
    """

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def unexpected(error: BaseException) -> HandlerError:
    """The error itself when it was raised on purpose; a logged, bare 500 when it is a bug.

    It is without its traceback and what led to it. These hold frames, which hold the request and
    whoever keeps the error: of refused bodies of 16 MB a worker kept 57 MB each, for thousands of
    requests, until the collector of cycles came by.
    """
    if isinstance(error, HandlerError):
        error.__traceback__ = error.__context__ = error.__cause__ = None
        return error
    logger.error("the handler failed", exc_info=error)
    return ModelError("the handler failed on this input", hint="the worker's log says why")
