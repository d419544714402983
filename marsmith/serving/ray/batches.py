"""Requests that come one by one, and go to a worker in batches, as TorchServe's frontend does it.

A thread asks the worker, whose answers take long; requests come from an event loop.

See: BatchAggregator.java, Model.java (`pollBatch`) and ContinuousBatching.java in TorchServe.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from marsmith.errors import ArchiveError
from marsmith.harness.wire import Request, Response


class Worker(Protocol):
    """What is asked: a `Harness`."""

    def ask(self, requests: Sequence[Request]) -> Iterator[Mapping[str, Response]]:
        """Send one command and yield what the worker answers, by request id."""


class WorkerDiedError(Exception):
    """The worker ended before it had answered; another may be asked."""


class NotAskedError(WorkerDiedError):
    """No worker was asked, for there is none and there will be none."""


@dataclass(eq=False)
class _Ticket:
    """A request on its way.

    Attributes:
        request: what the worker is sent.
        loop: where its answers are awaited.
        said: what the worker has said, and not been taken.
        given_up: whether nobody waits for the answer any more.
    """

    request: Request
    loop: asyncio.AbstractEventLoop
    said: asyncio.Queue[Response | Exception] = field(default_factory=asyncio.Queue)
    given_up: bool = False

    async def next(self, seconds: float | None) -> Response | Exception:
        """What the worker says next."""
        if seconds is None:
            return await self.said.get()
        # `asyncio.wait_for` would make a task of it.
        late = self.loop.call_later(seconds, self.said.put_nowait, asyncio.TimeoutError())
        try:
            return await self.said.get()
        finally:
            late.cancel()


class BatchQueue:
    """What waits for one worker.

    Args:
        size: the most requests of a batch.
        delay_s: how long a batch waits to fill, from its first request on.
        continuous: whether new requests join those that the worker is asked again for.
    """

    def __init__(self, size: int, delay_s: float, *, continuous: bool = False) -> None:
        self._size, self._delay_s, self._continuous = size, delay_s, continuous
        self._waiting: deque[_Ticket] = deque()
        self._changed = threading.Condition()
        self._closed = self._failed = False

    @property
    def waiting(self) -> int:
        """How many requests wait to be sent."""
        return len(self._waiting)

    async def ask(
        self, request: Request, seconds: float | None = None
    ) -> AsyncGenerator[Response, None]:
        """Ask, and yield the answer, or its parts.

        Whoever stops before the end isn't answered any more: what waits isn't sent, and a worker
        that is asked continuously writes no more of it.

        Args:
            request: what the worker is sent.
            seconds: how long the answer, or each part of it, may take; None for ever.

        Raises:
            WorkerDiedError: the worker ended first.
            NotAskedError: there is none any more.
            asyncio.TimeoutError: it has taken longer.
        """
        ticket = _Ticket(request, asyncio.get_running_loop())
        with self._changed:
            if self._failed:
                raise NotAskedError
            self._waiting.append(ticket)
            self._changed.notify()
        try:
            while True:
                said = await ticket.next(seconds)
                if isinstance(said, Exception):
                    raise said
                yield said
                if not said.more_follows:
                    return
        finally:
            ticket.given_up = True

    def close(self) -> None:
        """End `serve` after what it has begun."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def fail(self) -> None:
        """Tell all who wait, and all who come, that there is no worker any more."""
        with self._changed:
            self._failed = True
            waiting, self._waiting = self._waiting, deque()
        _put([(ticket, NotAskedError()) for ticket in waiting])

    def serve(self, worker: Worker, between: Callable[[], object]) -> None:
        """Let a worker answer what comes, until it is closed.

        Args:
            worker: answers.
            between: is called after each command.

        Raises:
            ArchiveError: the worker has died; those whom it was to answer are told.
        """
        asked: dict[str, _Ticket] = {}
        while True:
            for ticket in self._next(self._size - len(asked), patient=not asked):
                asked[ticket.request.request_id] = ticket
            asked = {name: ticket for name, ticket in asked.items() if not ticket.given_up}
            if not asked:
                if self._closed:
                    return
                continue
            try:
                for said in worker.ask([ticket.request for ticket in asked.values()]):
                    self._tell(asked, said)
            except ArchiveError as error:
                for ticket in asked.values():
                    _put([(ticket, WorkerDiedError(error.message))])
                raise
            between()

    def _tell(self, asked: dict[str, _Ticket], said: Mapping[str, Response]) -> None:
        found = [(asked[name], response) for name, response in said.items()]
        for ticket, response in found:
            if not response.more_follows:
                del asked[ticket.request.request_id]
            elif self._continuous:
                ticket.request = ticket.request.again()
        _put(found)

    def _next(self, room: int, *, patient: bool) -> list[_Ticket]:
        """Take what is to be sent now; `patient`: wait until there is something."""
        taken: list[_Ticket] = []
        with self._changed:
            while patient and not self._waiting and not self._closed:
                self._changed.wait()
            until = time.monotonic() + (self._delay_s if patient else 0)
            while len(taken) < room:
                if self._waiting:
                    ticket = self._waiting.popleft()
                    taken += [] if ticket.given_up else [ticket]
                elif not taken or not self._changed.wait(until - time.monotonic()):
                    break
        return taken


def _put(found: Iterable[tuple[_Ticket, Response | Exception]]) -> None:
    """Hand over what was said, in the loops of those who wait for it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Ticket, Response | Exception]]] = {}
    for ticket, response in found:
        by_loop.setdefault(ticket.loop, []).append((ticket, response))

    def put(some: list[tuple[_Ticket, Response | Exception]]) -> None:
        for ticket, response in some:
            ticket.said.put_nowait(response)

    for loop, some in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(put, some)
