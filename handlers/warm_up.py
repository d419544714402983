"""Warm up a worker with requests of its own, so that the first client's is as fast as any."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from http import HTTPStatus

from handlers.errors import LoadError
from handlers.protocols.exchange import Exchange

RUNS = (3, 10)  # at least and at most; TorchScript specialises in its first two
SECONDS = 1.0


def warm_up(
    answer: Callable[[Sequence[Exchange]], object],
    example: tuple[str, bytes],
    sizes: Collection[int],
) -> None:
    """Answer a task's own example again and again, in batches of some sizes.

    Args:
        answer: answers a batch of rows.
        example: the media type and body of a request.
        sizes: the sizes of the batches.

    Raises:
        LoadError: the example isn't answered.
    """
    media_type, body = example
    for size in sorted(set(sizes)):
        began = time.monotonic()
        for run in range(1, RUNS[1] + 1):
            rows = [Exchange({"body": body}, {"body": media_type}) for _ in range(size)]
            answer(rows)
            for row in rows:
                if row.status != HTTPStatus.OK:
                    raise LoadError(f"its own example request failed: {row.body!r}")
            if run >= RUNS[0] and time.monotonic() - began > SECONDS:
                break
