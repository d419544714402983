"""As many ways as the machine has room for live at a time, on one server after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack

from marsmith.errors import ServerError
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.tune.settings import Way

Start = Callable[[Sequence[str]], AbstractContextManager[ServerInfo]]
"""Serves ways, by their names, until it is left."""


class Groups:
    """Serves each way when it is asked for, and those that come after it as far as there is room.

    TorchServe loses track of a model's workers where it has none, so a model is not scaled to 0
    until its turn comes: another server is started.

    Args:
        ways: by name.
        start: starts a server; raises `ServerError` where a way doesn't start in its time.
        room: how many workers may live now, while none does. A way that needs more is served alone.
    """

    def __init__(self, ways: Mapping[str, Way], start: Start, room: Callable[[], int]) -> None:
        self._ways, self._start, self._room = ways, start, room
        self._next: Sequence[str] = tuple(ways)
        self._live: Mapping[str, ServerInfo] = {}
        self._alone: set[str] = set()
        self._server = ExitStack()

    def __enter__(self) -> Groups:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def begin(self, names: Sequence[str]) -> None:
        """Say which ways are asked for from now on, in order.

        What lives serves on if it has all of them; otherwise they are grouped anew.
        """
        self._next = names
        if not set(names) <= set(self._live):
            self._stop()

    def server_of(self, name: str) -> ServerInfo:
        """The server of a way, which is started if need be.

        Raises:
            ServerError: the way doesn't start, not even alone.
        """
        while name not in self._live:
            self._stop()
            group = list(self._group(name))
            try:
                info = self._server.enter_context(self._start(group))
            except ServerError as error:
                if len(group) == 1:
                    why = error.message.partition("\n")[0]
                    raise ServerError(f"it did not start: {why}", error.hint) from error
                self._alone |= set(group)  # one of them may be what keeps the others waiting
            else:
                self._alone -= set(group)
                self._live = dict.fromkeys(group, info)
        return self._live[name]

    def _group(self, name: str) -> Iterator[str]:
        """Yield a way, and those after it while there is room for them."""
        yield name
        left = self._room() - self._ways[name].workers
        if name in self._alone:
            return
        for other in self._next[self._next.index(name) + 1 :]:
            left -= self._ways[other].workers
            if left < 0 or other in self._alone:
                return
            yield other

    def _stop(self) -> None:
        self._live = {}
        self._server.close()
