"""Wait until a server can serve, and until it serves at full speed."""

from __future__ import annotations

import base64
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx

from marsmith.client.clients import Client
from marsmith.errors import MarsmithError, RequestError, ServerError
from marsmith.serving.torchserve.status import ModelStatus
from marsmith.serving.torchserve.worker_log import LoadWatch

Progress = Callable[[str], None]

POLL_S = 0.1
CONSOLE_LINES = 15

WARM_UP_S = 3.0
# Java compiles what has run often, however many at a time: half of the time at most goes to
# requests beside each other, and then some, one after another, must take equally long. What it has
# compiled for one model serves all: the others have the second half alone, and fewer requests.
TOGETHER = 300
CONNECTIONS = 4
WARM_UP_REQUESTS = 100
OTHERS_REQUESTS = 20
STEADY = 0.1
# Every so many requests, one takes a connection of its own: accepting one is a path to warm too.
FRESH_EVERY = 4


def connect(
    make_client: Callable[[], Client], check: Callable[[], None], deadline: float
) -> Client:
    """Wait for the key file and the management API of a server that is starting.

    Args:
        make_client: makes a client; fails while there is no key file.
        check: raises when the server can't start any more.
        deadline: on the monotonic clock.

    Raises:
        ServerError: `check` raised it, or the time is up.
    """
    while True:
        check()
        try:
            client = make_client()
        except ServerError as error:
            problem = error
        else:
            try:
                client.models()
            except ServerError as error:
                client.close()
                problem = error
            else:
                return client
        if time.monotonic() > deadline:
            raise ServerError(f"TorchServe did not start in time: {problem}") from problem
        time.sleep(POLL_S)


def wait_for_workers(
    client: Client,
    wanted: Mapping[str, int | None],
    check: Callable[[], None],
    deadline: float,
    on_progress: Progress,
) -> None:
    """Wait until every model has its workers, and no more than it may have.

    Args:
        client: the server's.
        wanted: models and numbers of READY workers, which are asked for; None for the `minWorkers`
            of the model.
        check: raises when a load has failed.
        deadline: on the monotonic clock.
        on_progress: takes a line for each model that is ready.

    Raises:
        ServerError: `check` raised it, or the time is up.
    """
    waiting = dict(wanted)
    while True:
        check()
        states = {name: _workers(client, name, number) for name, number in waiting.items()}
        for name, (enough, state) in states.items():
            if enough:
                on_progress(f"{name}: {state}")
                del waiting[name]
        if not waiting:
            return
        if time.monotonic() > deadline:
            told = "; ".join(f"{name}: {states[name][1]}" for name in waiting)
            raise ServerError(
                f"the time is up, and not every worker has loaded: {told}",
                hint="allow more time, or look at what the worker prints: model.log",
            )
        time.sleep(POLL_S)


def _workers(client: Client, name: str, number: int | None) -> tuple[bool, str]:
    """Ask for a model's workers; return whether it has them, and in words how many it has."""
    try:
        model = ModelStatus.model_validate(client.model(name))
    except RequestError as error:
        if error.status != 404:
            raise
        return False, "not registered yet"
    except ServerError as error:
        if not isinstance(error.__cause__, httpx.TimeoutException):
            raise
        return False, "no answer yet"  # on a busy machine, Java takes seconds
    needed = model.min_workers if number is None else number
    if model.min_workers < needed:  # TorchServe has begun with what its archive says
        client.scale(name, needed, max(needed, model.max_workers))
    ready = sum(worker.status == "READY" for worker in model.workers)
    enough = ready >= needed and len(model.workers) <= model.max_workers
    return enough, f"{ready} of {needed} workers ready"


def start_check(
    watch: LoadWatch, is_alive: Callable[[], bool], console: Path
) -> Callable[[], None]:
    """Make the check of a start: Java lives, and no load has failed."""

    def check() -> None:
        watch.check()
        if not is_alive():
            watch.check()
            raise ServerError(
                "TorchServe ended while it started; it said:\n" + last_lines(console),
                hint=f"see its logs in {console.parent}",
            )

    return check


def last_lines(file: Path, count: int = CONSOLE_LINES) -> str:
    """Return the end of a text file; empty if there is none."""
    try:
        return "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
    except OSError:
        return ""


def warm_up(
    client: Client, model: str, on_progress: Progress, *, java_is_warm: bool = False
) -> float | None:
    """Send a model's own example, many times and then until it is answered at a steady pace.

    A JVM that has just started interprets its own code, and answers its first requests many times
    slower than later ones; the first client should not pay for that. A model whose description
    has no `example` gets no requests.

    Args:
        client: TorchServe's own.
        model: its name.
        on_progress: takes a line about it.
        java_is_warm: whether another model has been warmed up already.

    Returns:
        Requests per second, one after another; None if there were none.
    """
    example = _example(client, model)
    if example is None:
        return None
    body, content_type = example
    least = OTHERS_REQUESTS if java_is_warm else WARM_UP_REQUESTS
    started = time.monotonic()
    half, end = started + WARM_UP_S / 2, started + WARM_UP_S / (2 if java_is_warm else 1)

    def ask(number: int) -> float:
        """Ask once, and return how long it took; 0 if half of the time is over."""
        sent = time.monotonic()
        if number < TOGETHER and sent > half:
            return 0.0
        fresh = number % FRESH_EVERY == 0
        client.predict(model, body, content_type=content_type, fresh_connection=fresh)
        return time.monotonic() - sent

    latencies: list[float] = []
    try:
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            numbers = range(0 if java_is_warm else TOGETHER)
            together = sum(latency > 0 for latency in pool.map(ask, numbers))
        while time.monotonic() < end and not is_steady(latencies, least):
            latencies.append(ask(TOGETHER + len(latencies)))
        latencies = latencies or [ask(TOGETHER)]
    except MarsmithError as error:
        on_progress(f"{model}: not warmed up, its own example fails: {error.message}")
        return None
    p50_ms = statistics.median(latencies[-least // 2 :]) * 1000
    asked = together + len(latencies)
    on_progress(f"{model}: warmed up by {asked} requests, now {p50_ms:.1f} ms each")
    return 1000 / p50_ms


def is_steady(latencies: list[float], least: int) -> bool:
    """Whether there are enough latencies, and half as many of the latest are like those before."""
    if len(latencies) < least:
        return False
    window = least // 2
    now = statistics.median(latencies[-window:])
    before = statistics.median(latencies[-2 * window : -window])
    return abs(now - before) <= STEADY * before


def _example(client: Client, model: str) -> tuple[bytes, str] | None:
    """Return a model's example request, if its handler describes one."""
    # A handler that knows nothing of being described may answer anything at all.
    with suppress(MarsmithError, ValueError):
        match client.describe(model).get("customizedMetadata"):
            case {"example": {"body_base64": str(body), "content_type": str(content_type)}}:
                return base64.b64decode(body), content_type
    return None
