"""The state of sequences: what a recurrent model must be given again with a caller's next request.

It is kept by the worker that has it, so there is one worker. A sequence that isn't known is
refused, never begun silently: a wrong state would answer like a right one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from handlers.errors import BadRequest, ModelError
from handlers.runtimes import Tensors

CONFLICT = 409


@dataclass(frozen=True)
class Kept:
    """What is kept of a sequence.

    Attributes:
        state: inputs of its next request, by name, without the batch.
        before: those of its last request, should that be sent again.
        count: how many of its requests have been answered; 0 while the first is on its way.
        used: when it was used last, by the clock.
        ended: whether that was its end; it stays while there is room, should that be sent again.
    """

    state: Tensors
    before: Tensors
    count: int
    used: float
    ended: bool


class Sequences:
    """Sequences by their ids, the one that was used last at the end.

    Args:
        most: how many there may be.
        idle_s: how long one is kept that nobody asks for.
        clock: seconds.
    """

    def __init__(
        self, most: int, idle_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most, self.idle_s, self._clock = most, idle_s, clock
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def begin(self, identity: str) -> None:
        """Make room for a sequence, which begins anew if there is one of that id.

        Raises:
            ModelError: there are as many as there may be; a 503.
        """
        self._drop_idle()
        self._kept.pop(identity, None)
        if len(self._kept) >= self.most:
            self._kept = OrderedDict((n, kept) for n, kept in self._kept.items() if not kept.ended)
        if len(self._kept) >= self.most:
            raise ModelError(
                f"there are {self.most} sequences already, which is all that are kept",
                hint="come again later; say 'sequence_end' with the last request of each",
                status=503,
            )
        self._kept[identity] = Kept({}, {}, 0, self._clock(), False)

    def find(self, identity: str, index: int | None) -> Tensors:
        """The state that a sequence's request needs.

        Args:
            identity: of the sequence.
            index: the request's place in it, from 0, where the client says it.

        Raises:
            BadRequest: there is no such sequence, or another request is its next; a 409.
        """
        self._drop_idle()
        kept = self._kept.get(identity)
        repeated = kept is not None and index == kept.count - 1
        if kept is None or not kept.count or (kept.ended and not repeated):
            raise BadRequest(
                f"there is no sequence {identity[:80]!a} here: it was never begun, has ended, or"
                f" nobody asked for it for {self.idle_s:g} s",
                hint="begin it with 'sequence_start'",
                status=CONFLICT,
            )
        if repeated:
            return kept.before
        if index is None or index == kept.count:
            return kept.state
        raise BadRequest(
            f"request {index} of sequence {identity[:80]!a} came, and {kept.count} is next",
            hint="send the requests of a sequence one after the other",
            status=CONFLICT,
        )

    def keep(
        self, identity: str, before: Tensors, state: Tensors, index: int | None, ended: bool
    ) -> None:
        """Keep the state after a request.

        Args:
            identity: of the sequence.
            before: the state that the request was answered with.
            state: after it.
            index: the request's place, where the client says it.
            ended: whether it was the last.
        """
        kept = self._kept.pop(identity, None)
        count = (kept.count if kept else 0) + 1 if index is None else index + 1
        if not ended or index is not None:
            self._kept[identity] = Kept(state, before, count, self._clock(), ended)

    def _drop_idle(self) -> None:
        oldest = self._clock() - self.idle_s
        while self._kept and next(iter(self._kept.values())).used < oldest:
            self._kept.popitem(last=False)
