"""Waiting for what comes, however slow the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

AT_MOST_S = 300


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until something is true.

    Raises:
        AssertionError: it never is.
    """
    deadline = time.monotonic() + AT_MOST_S
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError("it has not become true")
        time.sleep(0.02)
