"""When requests are meant to be sent."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marsmith.errors import MarsmithError

Seconds = NDArray[np.float64]


def poisson(rate: float, seconds: float, seed: int) -> Seconds:
    """Arrivals of clients that know nothing of each other.

    Args:
        rate: requests per second, in the mean.
        seconds: how long they come.
        seed: the same arrivals for the same seed.

    Returns:
        Seconds from the start, ascending.
    """
    chance = np.random.default_rng(seed)
    most = math.ceil(rate * seconds + 10 * math.sqrt(rate * seconds) + 10)
    times = np.cumsum(chance.exponential(1 / rate, most))
    return times[times < seconds]


def recorded(path: Path) -> Seconds:
    """Arrivals as they were recorded: a number in each line, the seconds since any moment.

    Raises:
        MarsmithError: it can't be read, has other than numbers, or none.
    """
    try:
        lines = path.read_text("utf-8").split()
        times = np.sort(np.array([float(line) for line in lines]))
    except (OSError, ValueError) as error:
        raise MarsmithError(
            f"the trace {path} can't be read: {error}", "a trace has a time in seconds per line"
        ) from error
    if not len(times) or not np.isfinite(times).all():
        raise MarsmithError(f"the trace {path} has no times", "one in seconds per line")
    return np.asarray(times - times[0])
