"""Whether the other processes of a build still live: one that is gone must not be waited for.

A process that dies closes its connections, and the others hear that at once. A node that loses its
power, or its network, closes nothing. So each process counts in the store that all have met
through, and looks how far the others have counted.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from torch import distributed

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

BEAT_S = 5.0
SILENCE_S = 120.0  # more than a process needs that pages, or unpickles what is large


class Hearing:
    """When each process was last heard of, by a clock that stands while this process does.

    Args:
        names: of all processes' keys in the store.
        mine: this one's.
    """

    def __init__(self, names: list[str], mine: str) -> None:
        self.names, self.mine = names, mine
        self.now = 0.0
        self.heard = dict.fromkeys(names, 0.0)

    def listen(self, store: Store, over: threading.Event) -> None:
        """Count, and hear the others count, until it is over or the store is gone."""
        count, before = 0, dict.fromkeys(self.names, b"")
        with suppress(distributed.DistError):
            while not over.is_set():
                count += 1
                store.set(self.mine, str(count))
                for name, said in zip(self.names, store.multi_get(self.names), strict=True):
                    if said != before[name]:
                        before[name], self.heard[name] = said, self.now
                over.wait(BEAT_S)

    def watch(self, over: threading.Event) -> None:
        """End this process when another was silent for too long: it may be waiting for that one."""
        while not over.wait(1):
            self.now += 1
            if self.now - min(self.heard.values()) > SILENCE_S:
                sys.stderr.write(
                    f"error: another process of this build was not heard of for {SILENCE_S:.0f} s\n"
                    "hint: see whether its node is up and reached from here; the next run goes on "
                    "from the last finished epoch\n"
                )
                sys.stderr.flush()
                os._exit(1)  # no signal ends a wait for a collective operation


@contextmanager
def watched(store: Store, rank: int, size: int) -> Iterator[None]:
    """End this process with a sentence when, in the block, another one is gone without a word.

    Args:
        store: which all have reached; of a connection of its own, because others wait in theirs.
        rank: of this process.
        size: how many there are.
    """
    names = [f"lives/{each}" for each in range(size)]
    hearing, over = Hearing(names, names[rank]), threading.Event()
    own = store.clone()  # type: ignore[attr-defined]  # the stubs lack it
    for target, given in ((hearing.listen, (own, over)), (hearing.watch, (over,))):
        threading.Thread(target=target, args=given, daemon=True).start()
    try:
        yield
    finally:
        over.set()
