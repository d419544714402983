"""Requests become batches, and batches answers; the worker here is in the test's own hands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence

from marsmith.errors import ArchiveError
from marsmith.harness.wire import Request, Response
from marsmith.serving.ray.batches import BatchQueue, NotAskedError, WorkerDiedError


def response(body: bytes, more: bool | None = None) -> Response:
    headers = {} if more is None else {"ts_stream_next": str(more).lower()}
    return Response(200, "", "", headers, body)


def bodies(requests: Sequence[Request]) -> list[bytes]:
    return [each.parameters[0].value if each.parameters else b"" for each in requests]


class Echo:
    """Answers each request with its body; with "die" in one of them it dies."""

    def __init__(self) -> None:
        self.seen: list[list[bytes]] = []
        self.goes_on = threading.Event()
        self.goes_on.set()

    def ask(self, requests: Sequence[Request]) -> Iterator[Mapping[str, Response]]:
        bodies = [each.parameters[0].value if each.parameters else b"" for each in requests]
        self.seen.append(bodies)
        self.goes_on.wait(60)
        if b"die" in bodies:
            raise ArchiveError("it died")
        yield {each.request_id: response(body) for each, body in zip(requests, bodies, strict=True)}


class Continuous(Echo):
    """Answers each request in three parts, a part whenever it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, int] = {}

    def ask(self, requests: Sequence[Request]) -> Iterator[Mapping[str, Response]]:
        self.seen.append(
            [each.parameters[0].value if each.parameters else b"" for each in requests]
        )
        said = {}
        for each in requests:
            self.parts[each.request_id] = number = self.parts.get(each.request_id, 0) + 1
            said[each.request_id] = response(b"%d" % number, number < 3)
        yield said


async def ask(batches: BatchQueue, body: bytes) -> bytes:
    return b"".join([part.body async for part in batches.ask(Request.raw(body))])


def serving(batches: BatchQueue, worker: Echo) -> threading.Thread:
    thread = threading.Thread(target=lambda: batches.serve(worker, lambda: None), daemon=True)
    thread.start()
    return thread


def test_requests_that_come_together_are_a_batch() -> None:
    batches, worker = BatchQueue(4, 60.0), Echo()
    thread = serving(batches, worker)

    async def eight() -> list[bytes]:
        return await asyncio.gather(*(ask(batches, b"%d" % number) for number in range(8)))

    assert asyncio.run(eight()) == [b"%d" % number for number in range(8)]
    assert [len(batch) for batch in worker.seen] == [4, 4]
    batches.close()
    thread.join(60)
    assert not thread.is_alive()


def test_one_request_does_not_wait_for_ever_for_others() -> None:
    batches, worker = BatchQueue(4, 0.001), Echo()
    serving(batches, worker)
    assert asyncio.run(ask(batches, b"alone")) == b"alone"
    batches.close()


def test_who_hangs_up_before_the_worker_is_free_costs_it_nothing() -> None:
    batches, worker = BatchQueue(1, 0.001), Echo()
    worker.goes_on.clear()
    serving(batches, worker)

    async def impatient() -> bytes:
        first = asyncio.create_task(ask(batches, b"first"))
        while not worker.seen:
            await asyncio.sleep(0)
        second = asyncio.create_task(ask(batches, b"second"))
        await asyncio.sleep(0)
        second.cancel()
        third = asyncio.create_task(ask(batches, b"third"))
        await asyncio.sleep(0)
        worker.goes_on.set()
        await first
        return await third

    assert asyncio.run(impatient()) == b"third"
    assert worker.seen == [[b"first"], [b"third"]]
    batches.close()


def test_a_worker_that_dies_is_told_to_those_whom_it_was_to_answer() -> None:
    batches, worker = BatchQueue(2, 60.0), Echo()
    died: list[ArchiveError] = []

    def run() -> None:
        try:
            batches.serve(worker, lambda: None)
        except ArchiveError as error:
            died.append(error)
            batches.serve(Echo(), lambda: None)  # started anew

    threading.Thread(target=run, daemon=True).start()

    async def four() -> list[bytes | BaseException]:
        bodies = (b"die", b"beside", b"later", b"later")
        return await asyncio.gather(
            *(ask(batches, each) for each in bodies), return_exceptions=True
        )

    first, second, *others = asyncio.run(four())
    assert [type(first), type(second)] == [WorkerDiedError, WorkerDiedError]
    assert others == [b"later", b"later"]
    assert len(died) == 1
    batches.close()


def test_who_waits_and_who_comes_is_told_that_there_is_no_worker_any_more() -> None:
    batches = BatchQueue(2, 60.0)

    async def two() -> list[bytes | BaseException]:
        first = asyncio.create_task(ask(batches, b"waits"))
        while not batches.waiting:
            await asyncio.sleep(0)
        await asyncio.to_thread(batches.fail)
        return [*await asyncio.gather(first, ask(batches, b"comes"), return_exceptions=True)]

    assert [type(each) for each in asyncio.run(two())] == [NotAskedError, NotAskedError]


def test_a_continuous_worker_is_asked_again_without_the_body_until_a_client_hangs_up() -> None:
    batches, worker = BatchQueue(4, 0.001, continuous=True), Continuous()
    serving(batches, worker)
    assert asyncio.run(ask(batches, b"whole")) == b"123"
    assert worker.seen == [[b"whole"], [b""], [b""]]

    async def first_part() -> bytes:
        parts = batches.ask(Request.raw(b"cut"))
        found = (await anext(parts)).body
        await parts.aclose()
        return found

    assert asyncio.run(first_part()) == b"1"
    assert asyncio.run(ask(batches, b"next")) == b"123"
    batches.close()
