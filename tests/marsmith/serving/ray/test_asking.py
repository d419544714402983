"""What dies is asked again, for a while; replicas and Ray's controller are in the test's hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from marsmith.harness.wire import Request, Response
from marsmith.serving.ray import asking
from marsmith.serving.ray.asking import DEATHS, Replicas
from marsmith.serving.ray.batches import NotAskedError, WorkerDiedError
from marsmith.serving.ray.condition import Condition
from marsmith.serving.ray.refusals import RefusedError
from marsmith.serving.ray.served import Served

pytest.importorskip("ray.serve")  # it warns at its first import
ANSWER = Response(200, "", "", {}, b"answer")


class Handle:
    """Where Ray's would be."""

    def options(self, **_: object) -> Handle:
        return self


class Scripted(Replicas):
    """Replicas that say, or fail, what they are told to, one try after another."""

    def __init__(self, served: Served, condition: Condition, script: list[Any]) -> None:
        handle: Any = Handle()
        super().__init__(served, handle, condition)
        self.script = script

    async def _parts(self, request: Request, seconds: float) -> AsyncGenerator[Response, None]:
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said
        yield said


class Up(Condition):
    """A controller that says what it is told to."""

    def __init__(self, running: int) -> None:
        super().__init__(["tiny"])
        self.number = running

    def running(self, name: str) -> int:
        return self.number


@pytest.fixture(scope="module")
def served(make_tiny_archive: Callable[..., Path]) -> Served:
    return Served.of(str(make_tiny_archive("tiny", response_timeout_s=1)))


def ask(replicas: Replicas) -> list[bytes]:
    async def parts() -> list[bytes]:
        return [part.body async for part in replicas.ask(Request.raw(b"x"))]

    return asyncio.run(parts())


@pytest.mark.parametrize(
    "deaths", [[WorkerDiedError()], [WorkerDiedError()] * (DEATHS - 1), [NotAskedError()] * DEATHS]
)
def test_a_request_outlives_those_that_die(
    served: Served, deaths: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PAUSE_S", 0.0)
    assert ask(Scripted(served, Up(1), [*deaths, ANSWER])) == [b"answer"]


def test_what_workers_may_die_of_is_not_asked_for_ever(served: Served) -> None:
    replicas = Scripted(served, Up(1), [WorkerDiedError()] * DEATHS + [ANSWER])
    with pytest.raises(RefusedError) as caught:
        ask(replicas)
    assert (caught.value.status, caught.value.headers) == (503, {"retry-after": "1"})
    assert replicas.script == [ANSWER]


def test_a_model_without_a_replica_is_waited_for_as_long_as_a_request_may_wait(
    served: Served,
) -> None:
    with pytest.raises(RefusedError) as caught:
        ask(Scripted(served, Up(0), [ANSWER]))
    assert (caught.value.status, caught.value.headers) == (503, {"retry-after": "2"})


def test_who_waits_for_a_replica_is_answered_when_there_is_one(served: Served) -> None:
    up = Up(0)

    async def parts() -> list[bytes]:
        asyncio.get_running_loop().call_soon(setattr, up, "number", 1)
        replicas = Scripted(served, up, [ANSWER])
        return [part.body async for part in replicas.ask(Request.raw(b"x"))]

    assert asyncio.run(parts()) == [b"answer"]
