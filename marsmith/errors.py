"""What can go wrong at build time and in operation.

Every error says what was wrong and what is allowed; `hint` says what to do about it.
The command line prints both and exits with status 1, without a traceback.
"""

from __future__ import annotations


class MarsmithError(Exception):
    """The root of every error that marsmith raises on purpose.

    Args:
        message: what was wrong, and what would have been right.
        hint: what to do next; empty when the message says it all.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RecipeError(MarsmithError):
    """A recipe that can't be read, or that says something which isn't allowed."""


class BuildError(MarsmithError):
    """A step of a build failed: a source, a conversion, the packaging."""


class UnsupportedError(BuildError):
    """This model can't take this form here: an engine is missing, or can't express it."""


class GateError(BuildError):
    """A verified number missed its bound; no archive was written."""


class ArchiveError(MarsmithError):
    """A file that is not a model archive, or an archive that does not load."""


class ServerError(MarsmithError):
    """TorchServe could not be found, started, reached or stopped."""


class RequestError(MarsmithError):
    """A server answered a request with an error status.

    Args:
        status: the HTTP status, 400 to 599.
        message: the server's own words.
        hint: the server's own hint.
    """

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


def reason(error: BaseException | None) -> str:
    """What somebody else's error says, in one line; its type when it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # TorchScript's interpreter begins with where it happened, and ends with what.
    return lines[-1 if "TorchScript interpreter" in lines[0] else 0][:200]
