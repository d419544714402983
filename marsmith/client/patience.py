"""How long a call may take, and when what it has sent is sent again."""

from __future__ import annotations

import math
import random
import time

import httpx

from marsmith.errors import MarsmithError

AGAIN = (429, 502, 503)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 10


class Patience:
    """That of one call, from now on.

    Args:
        timeout_s: how long each part of one attempt may take: to connect, to send, to wait.
        retries: how often each request may be sent again.
        deadline_s: how long all of it may take; None for any time.

    Raises:
        MarsmithError: there is no such time.
    """

    def __init__(self, timeout_s: float, retries: int, deadline_s: float | None = None) -> None:
        for name, seconds in (("timeout_s", timeout_s), ("deadline_s", deadline_s)):
            if seconds is not None and not seconds > 0:
                raise MarsmithError(f"{name} must be more than 0 seconds, not {seconds!r}")
        self.shortest_s = timeout_s if deadline_s is None else min(timeout_s, deadline_s)
        self._timeout_s, self._retries = timeout_s, retries
        self._end = math.inf if deadline_s is None else time.monotonic() + deadline_s

    def check(self, request: httpx.Request) -> None:
        """Give what is sent, or awaited, next the time that is left.

        Raises:
            httpx.TimeoutException: there is none.
        """
        left_s = self._end - time.monotonic()
        if left_s <= 0:
            raise httpx.ReadTimeout("the deadline has passed", request=request)
        bounds = httpx.Timeout(min(self._timeout_s, left_s)).as_dict()
        request.extensions = {**request.extensions, "timeout": bounds}

    def pause_s(self, outcome: httpx.Response | httpx.TransportError, attempt: int) -> float | None:
        """How long to wait before a request is sent again; None if it should not be.

        Who says when to come again is asked again then; who doesn't, and whose connection broke
        before an answer, after pauses that double: no model changes by being asked. Nobody waits
        for what would come after the deadline.

        Args:
            outcome: an answer, or why there is none.
            attempt: how often it has been sent again already.
        """
        if attempt >= self._retries or isinstance(outcome, httpx.TimeoutException):
            return None
        said = None
        if isinstance(outcome, httpx.Response):
            if outcome.status_code not in AGAIN:
                return None
            said = outcome.headers.get("Retry-After")
        if said is None:
            pause = min(FIRST_PAUSE_S * 2**attempt, LONGEST_PAUSE_S)
        elif said.isdecimal() and int(said) <= LONGEST_PAUSE_S:
            pause = float(said)
        else:
            return None
        pause *= random.uniform(1.0, 1.25)  # noqa: S311 - so that not all come at once
        return pause if time.monotonic() + pause < self._end else None
