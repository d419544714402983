"""Send requests as they are meant to come, and note when each was sent and answered."""

from __future__ import annotations

import asyncio
import gc
import itertools
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marsmith.bench.arrivals import Seconds
from marsmith.bench.target import Body, Endpoint
from marsmith.extras import need

if TYPE_CHECKING:
    from aiohttp import ClientSession

MOST_WAITING = 2000
"""Requests of an open loop that wait for their answers; with more the server doesn't keep up."""
TOKENS = re.compile(rb'"(?:completion_)?tokens"\s*:\s*(\d+)')
BROKEN = re.compile(rb'(?:data:\s*)?\{\s*"error"\s*:')
"""How the last line of an answer begins that failed after its status, a 200, had been sent."""
AHEAD_S = 0.1  # from the first arrival's plan until it is due


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request and what came of it; times in seconds from the run's start.

    Attributes:
        intended: when it was meant to be sent.
        sent: when it was.
        first: when the first byte of the answer's body came.
        done: when the answer was whole, or the request had failed.
        error: "" for an answer, else the status or what went wrong.
        tokens: how many the answer says it has; 0 where it says nothing.
    """

    intended: float
    sent: float
    first: float
    done: float
    error: str
    tokens: int


@dataclass(frozen=True)
class Run:
    """All requests of one run.

    Attributes:
        exchanges: in the order of their ends.
        overloaded: whether it was cut short, because too many requests waited.
    """

    exchanges: list[Outcome]
    overloaded: bool = False


def open_loop(target: Endpoint, arrivals: Seconds, timeout_s: float = 60.0) -> Run:
    """Send requests at their times, however long the answers before them take.

    Args:
        target: where to.
        arrivals: seconds from the start, ascending.
        timeout_s: for each answer.

    Raises:
        UnsupportedError: aiohttp is not installed.
    """

    async def drive(ask: Callable[[float], Awaitable[None]], began: float) -> bool:
        waiting: set[asyncio.Task[None]] = set()
        for arrival in arrivals:
            intended = began + float(arrival)
            # Without a pause, too: answers must be read between requests that are due at once.
            await asyncio.sleep(max(0.0, intended - time.perf_counter()))
            if len(waiting) > MOST_WAITING:
                break
            task = asyncio.ensure_future(ask(intended))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        overloaded = len(waiting) > MOST_WAITING
        await asyncio.gather(*waiting)
        return overloaded

    return _run(target, timeout_s, drive)


def closed_loop(target: Endpoint, connections: int, seconds: float, timeout_s: float = 60.0) -> Run:
    """Let each of some clients ask, wait for the answer, and ask again.

    Args:
        target: where to.
        connections: how many clients.
        seconds: after which none asks again.
        timeout_s: for each answer.

    Raises:
        UnsupportedError: aiohttp is not installed.
    """

    async def drive(ask: Callable[[float], Awaitable[None]], began: float) -> bool:
        async def client() -> None:
            while (now := time.perf_counter()) < began + seconds:
                await ask(now)

        await asyncio.gather(*(client() for _ in range(connections)))
        return False

    return _run(target, timeout_s, drive)


def _run(
    target: Endpoint,
    timeout_s: float,
    drive: Callable[[Callable[[float], Awaitable[None]], float], Awaitable[bool]],
) -> Run:
    need("bench", "aiohttp")
    exchanges: list[Outcome] = []

    async def run() -> bool:
        from aiohttp import ClientSession, ClientTimeout, TCPConnector

        bodies = itertools.cycle(target.bodies)
        async with ClientSession(
            connector=TCPConnector(limit=0),
            timeout=ClientTimeout(total=timeout_s),
            headers=target.headers,
            auto_decompress=False,
        ) as session:
            began = time.perf_counter() + AHEAD_S

            async def ask(intended: float) -> None:
                exchange = await _ask(session, target, next(bodies), intended, began)
                exchanges.append(exchange)

            return await drive(ask, began)

    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a pause of the generator would look like one of the server
    try:
        return Run(exchanges, overloaded=asyncio.run(run()))
    finally:
        if collecting:
            gc.enable()


async def _ask(
    session: ClientSession, target: Endpoint, body: Body, intended: float, began: float
) -> Outcome:
    from aiohttp import ClientError

    sent = first = time.perf_counter()
    error, tokens = "", 0
    try:
        headers = {"Content-Type": target.headers.get("Content-Type", body.media_type)}
        async with session.post(target.url, data=body.content, headers=headers) as response:
            answer = bytearray()
            async for chunk in response.content.iter_any():
                if not answer:
                    first = time.perf_counter()
                answer += chunk
            if response.status >= 400:
                error = str(response.status)
            elif BROKEN.match(answer.strip().rpartition(b"\n")[2]):
                error = "broken off"
            elif found := TOKENS.findall(answer):
                tokens = int(found[-1])
    except (ClientError, OSError, asyncio.TimeoutError) as problem:
        error = type(problem).__name__
    done = time.perf_counter()
    return Outcome(
        intended - began, sent - began, max(first, sent) - began, done - began, error, tokens
    )
