"""A model's new version beside the old one: who answers which request, and what came of it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import zlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from marsmith.client.answers import MirroredAnswer, differ
from marsmith.harness.wire import Request, Response
from marsmith.serving.ray import ledger
from marsmith.serving.ray.asking import Replicas
from marsmith.serving.ray.condition import Condition
from marsmith.serving.ray.http import Http
from marsmith.serving.ray.ledger import NEW, OLD, Noted
from marsmith.serving.ray.paths import AskedPath
from marsmith.serving.ray.refusals import RefusedError
from marsmith.serving.ray.served import Served

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

logger = logging.getLogger("ray.serve")
TELL_S = 0.25
WAITING = 8
"""Requests that may be compared at a time; others are not."""
KEPT_BYTES = 32_000_000
"""An answer that is longer is not compared."""
SESSION = ("x-session", "x-sequence-id")
"""Requests with the same in one of these headers get the same version."""

Make = Callable[[Replicas], Awaitable[Request]]


@dataclass(frozen=True)
class Beside:
    """A new version beside the one that serves, as ingresses are told of it.

    Attributes:
        application: Ray's, that has its replicas.
        archive: as `PATH@sha256:DIGEST`.
        percent: of the model's requests that it gets.
        shadow: the share of the others, 0 to 1, that it is asked as well, to compare answers.
        tolerance: how far apart numbers may be that are alike.
    """

    application: str
    archive: str
    percent: int = 0
    shadow: float = 0.0
    tolerance: float = 0.0


class Split:
    """Two versions of one model, behind one ingress.

    Args:
        old: the replicas of the one that serves.
        served: the new one.
        handle: Ray's, of its deployment.
        said: what is told of it; it may change.
    """

    def __init__(
        self, old: Replicas, served: Served, handle: DeploymentHandle, said: Beside
    ) -> None:
        self.said = said
        self._condition = Condition([served.name], said.application)
        self._old, self._new = old, Replicas(served, handle, self._condition)
        self._answers: list[tuple[str, int, float]] = []
        self._compared: list[str] = []
        self._asking: dict[asyncio.Task[list[Response]], Http] = {}
        self._comparing: set[asyncio.Task[None]] = set()
        self._ended = False
        self._watching = asyncio.create_task(self._condition.watch())
        self._telling = asyncio.create_task(self._tell())

    async def answer(self, http: Http, asked: AskedPath, make: Make) -> None:
        """Answer a request by one version, and perhaps compare what the other says.

        What the new version fails at, before it has said anything, is asked of the old one; so is
        what it has said nothing of when this ends.

        Args:
            http: the request.
            asked: what its path asks for.
            make: makes what a version's worker is sent.

        Raises:
            RefusedError: there is no answer.
        """
        if self._takes(http, asked):
            request = await make(self._new)
            if await self._said_by_new(http, request, again=not self._named(asked)):
                return
        request = await make(self._old)
        said = await self._said(OLD, self._old, http, request)
        if self._compares(http, asked) and said and said[0].status < 500:
            task = asyncio.create_task(self._compare(await make(self._new), said))
            self._comparing.add(task)
            task.add_done_callback(self._comparing.discard)

    def end(self) -> None:
        """Tell what is noted, and ask the new version no more."""
        self._ended = True
        self._watching.cancel()
        begun = {task for task, http in self._asking.items() if http.begun}
        for each in (*self._comparing, *(self._asking.keys() - begun)):
            each.cancel()

    def _named(self, asked: AskedPath) -> bool:
        """Whether a request asks for the new version by its name; of equal ones it is the old."""
        versions = [each.served.plan.version for each in (self._new, self._old)]
        return asked.version == versions[0] != versions[1] and self.said.percent > 0

    def _takes(self, http: Http, asked: AskedPath) -> bool:
        """Whether the new version gets a request."""
        if asked.version is not None:
            return self._named(asked)
        if asked.verb not in ("predict", "explain") or not self._condition.up(asked.model):
            return False
        session = _session(http)
        place = zlib.crc32(session.encode("latin-1")) % 100 if session else _percent()
        return place < self.said.percent

    def _compares(self, http: Http, asked: AskedPath) -> bool:
        """Whether the new version is asked, too, what the old one has answered."""
        alone = asked.version is not None or _session(http)
        room = len(self._comparing) < WAITING
        chosen = room and not alone and _percent() < 100 * self.said.shadow
        return chosen and asked.verb == "predict"

    async def _said_by_new(self, http: Http, request: Request, *, again: bool) -> list[Response]:
        """Answer by the new version; nothing where the old one is to be asked."""
        task = asyncio.create_task(self._said(NEW, self._new, http, request, again=again))
        self._asking[task] = http
        try:
            await asyncio.wait([task])
        finally:
            del self._asking[task]
            task.cancel()  # of a client that has hung up
        return [] if task.cancelled() else task.result()

    async def _said(
        self, side: str, replicas: Replicas, http: Http, request: Request, *, again: bool = False
    ) -> list[Response]:
        """Answer by one version; nothing, with `again`, where it fails and another may be asked."""
        began, status, said = time.monotonic(), 0, list[Response]()
        try:
            async with aclosing(replicas.ask(request)) as parts:
                async for part in parts:
                    status = status or part.status
                    if again and status >= 500:
                        return []
                    said.append(part)
                    await http.part(part)
        except Exception as error:
            refused = error.status if isinstance(error, RefusedError) else 0
            status = status or refused or 500
            if not again or http.begun or status < 500:
                raise
            if not refused:
                plan = replicas.served.plan
                logger.warning("%s %s failed", plan.name, plan.version, exc_info=True)
            return []
        finally:  # a client that hung up has no status
            self._answers.append((side, status, time.monotonic() - began))
        return said

    async def _compare(self, request: Request, expected: list[Response]) -> None:
        try:
            async with aclosing(self._new.ask(request)) as parts:
                said = [part async for part in parts]
        except RefusedError as refusal:
            words = f"status {refusal.status} instead of {expected[0].status}"
        except Exception as error:  # whatever it is, it is no answer
            words = f"no answer: {type(error).__name__}"
        else:
            found, wanted, tolerance = _whole(said), _whole(expected), self.said.tolerance
            if max(len(found.body), len(wanted.body)) > KEPT_BYTES:
                return
            words = await asyncio.to_thread(differ, found, wanted, tolerance)
        self._compared.append(words)

    async def _tell(self) -> None:
        """Tell the ledger what is noted, until the end."""
        ended = False
        while not ended:
            await asyncio.sleep(TELL_S)
            ended = self._ended
            noted = Noted(self._answers, self._compared)
            self._answers, self._compared = [], []
            if noted.answers or noted.compared:
                try:
                    await ledger.the_open_one().add.remote(noted)
                except Exception:  # the rollout has ended: nobody asks
                    logger.warning("a rollout's ledger is gone", exc_info=True)


def _percent() -> float:
    """A number of chance, from 0 to 100."""
    return 100 * random.random()  # noqa: S311


def _session(http: Http) -> str:
    """What a request says of the session, or sequence, that it belongs to; "" if nothing."""
    return next((found for name in SESSION if (found := http.header(name))), "")


def _whole(parts: list[Response]) -> MirroredAnswer:
    body = b"".join(part.body for part in parts)
    return MirroredAnswer(parts[0].status, httpx.Headers(dict(parts[0].headers)), body)
