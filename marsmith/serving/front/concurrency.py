"""How many requests of a model may be on their way, so that none waits longer than it may."""

from __future__ import annotations

import math
from dataclasses import dataclass

WEIGHT = 0.3  # of the latest second, beside all before it
LONGEST_RETRY_S = 60


@dataclass
class ConcurrencyLimit:
    """What is known of one model's pace.

    Attributes:
        at_once: how many requests TorchServe has at once; there is always room for so many.
        most: room for more there never is.
        wait_s: how long a request may wait.
        rate: requests per second that the model answers, when it is asked for more; None until
            that is known.
    """

    at_once: int
    most: int
    wait_s: float
    rate: float | None = None

    def observe(self, answered: int, seconds: float, *, waiting: bool) -> None:
        """Take what was answered in a while.

        Args:
            answered: how many requests.
            seconds: in how long.
            waiting: whether more waited all the while, so that this is all that the model can do.
        """
        rate = answered / seconds
        if waiting and self.rate is not None and answered:
            self.rate += WEIGHT * (rate - self.rate)
        elif (waiting and answered) or rate > (self.rate or math.inf):
            self.rate = rate

    def requests(self) -> int:
        """How many requests may be on their way, waiting or not."""
        if self.rate is None:
            return self.most
        return max(1, min(self.most, max(self.at_once, int(self.rate * self.wait_s))))

    def retry_after_s(self) -> int:
        """When one who is refused may try again: what is on its way is answered by then."""
        if self.rate is None:
            return 1
        return max(1, min(LONGEST_RETRY_S, math.ceil(self.requests() / self.rate)))
