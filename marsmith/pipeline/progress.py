"""How far a build has come: which of the candidates, how long it took, how long it may take yet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

STILL_S = 60.0  # after so long, and again and again, a step is told of once more
FIRST_S = 10.0  # before that a guess is of no use


class Progress:
    """Counts steps that take about as long as each other; a context, in which one is told of.

    Args:
        total: how many there are.
        say: takes a line as each begins.
        clock: in seconds.
    """

    def __init__(
        self, total: int, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total, self._say, self._clock = total, say, clock
        self._begun, self._done = clock(), 0
        self._over = threading.Event()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def next(self, step: str) -> None:
        """Say that the next step begins."""
        taken = self._clock() - self._begun
        left = ""
        if self._done and taken >= FIRST_S:
            rest = taken / self._done * (self._total - self._done)
            left = f" ({duration(taken)} so far, about {duration(rest)} left)"
        self._done += 1
        self._say(f"{self._done}/{self._total} {step}{left}")
        self._over.set()
        self._over = threading.Event()
        told = f"{self._done}/{self._total} {step}"
        threading.Thread(target=self._still, args=(told, self._over), daemon=True).start()

    def _still(self, step: str, over: threading.Event) -> None:
        begun = time.monotonic()
        while not over.wait(STILL_S):
            taken = duration(time.monotonic() - begun)
            self._say(f"{step} (still, after {taken}; a recipe's `candidates` may leave it out)")


def duration(seconds: float) -> str:
    """Format a duration: "40 s", "3 min", "1 h 20 min"."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
