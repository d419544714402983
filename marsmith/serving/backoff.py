"""When what has died may be started again."""

from __future__ import annotations

import time
from collections.abc import Callable

LEAST_BACK_OFF_S, MOST_BACK_OFF_S = 0.5, 30.0
STEADY_S = 60.0
"""Who has run for so long is revived at once when it dies, as if it never had."""


class Backoff:
    """What one process needs: started again at once, then later and later.

    Args:
        clock: tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began, self._wait_s = clock(), 0.0

    def due(self) -> bool:
        """Whether it is time."""
        return self._clock() >= self._began + self._wait_s

    def begin(self) -> None:
        """Note that it is started again."""
        now = self._clock()
        steady = now - self._began > STEADY_S + self._wait_s
        self._wait_s = 0.0 if steady else min(MOST_BACK_OFF_S, 2 * self._wait_s or LEAST_BACK_OFF_S)
        self._began = now
