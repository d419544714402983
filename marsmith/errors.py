"""The errors of build time and operation.

Every error says what was wrong and what is allowed; `hint` says what to do about it. Both begin in
lower case and end without a full stop. The command line prints them and exits with status 1,
without a traceback; so does a notebook.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence


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

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: as a terminal does, no traceback."""
        lines = [f"{type(self).__name__}: {self.message}"]
        return [*lines, f"hint: {self.hint}"] if self.hint else lines


class RecipeError(MarsmithError):
    """A recipe can't be read, or says something that isn't allowed."""


class BuildError(MarsmithError):
    """A step of a build failed: a source, a conversion, the packaging."""


class UnsupportedError(BuildError):
    """This model can't take this form here: an engine is missing, or can't express it."""


class GateError(BuildError):
    """A verified number missed its bound; no archive was written."""


class ArchiveError(MarsmithError):
    """A file is not a model archive, or an archive does not load."""


class ServerError(MarsmithError):
    """TorchServe could not be found, started, reached or stopped."""


class MeasurementError(MarsmithError):
    """A load has no figures: nothing was answered, or its generator lagged."""


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
    """Return the message of somebody else's error in one line; its type if it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # TorchScript's interpreter begins with the place, and ends with the cause.
    return lines[-1 if "TorchScript interpreter" in lines[0] else 0][:200]


def no_such(kind: str, name: str, known: Sequence[str], where: str = "") -> str:
    """The message that nothing has a name, with the nearest that something has, and all."""
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ";"
    there = f"there are: {', '.join(known)}" if known else "there is none"
    return f"there is no {kind} {name!r}{f' {where}' if where else ''}{guess} {there}"
