from __future__ import annotations

import threading
import time

import numpy as np

from marsmith.bench.sending import closed_loop, open_loop
from marsmith.bench.target import Body, Endpoint
from tests.support.http_servers import answering


def test_an_open_loop_waits_for_no_answer() -> None:
    released = threading.Event()

    def answer(body: bytes) -> tuple[int, bytes]:
        if body == b"last":
            released.set()
        assert released.wait(30)  # nothing is answered before all are sent
        return 200, b"{}"

    with answering(answer) as url:
        bodies = tuple(Body(each) for each in (b"1", b"2", b"3", b"last"))
        run = open_loop(Endpoint(url, bodies), np.array([0.0, 0.01, 0.02, 0.03]), 60)
    assert [each.error for each in run.exchanges] == [""] * 4
    assert {round(each.intended, 6) for each in run.exchanges} == {0.0, 0.01, 0.02, 0.03}
    assert all(each.intended <= each.sent <= each.first <= each.done for each in run.exchanges)


def test_a_closed_loop_has_so_many_on_their_way_and_no_more() -> None:
    now, most, lock = 0, 0, threading.Lock()

    def answer(body: bytes) -> tuple[int, bytes]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return 200, b'{"tokens": 3}'

    with answering(answer) as url:
        run = closed_loop(Endpoint(url, (Body(b"x"),)), 4, 0.5)
    assert 1 <= most <= 4
    assert {(each.error, each.tokens) for each in run.exchanges} == {("", 3)}


def test_a_stream_that_ends_with_an_error_is_no_answer() -> None:
    lines = b'{"text": "a", "tokens": 1}\n{"error": "no time left", "hint": "send less"}\n'
    with answering(lambda body: (200, lines)) as url:
        run = open_loop(Endpoint(url, (Body(b"x"),)), np.array([0.0]), 30)
    assert [each.error for each in run.exchanges] == ["broken off"]


def test_what_goes_wrong_is_told_by_its_kind() -> None:
    def answer(body: bytes) -> tuple[int, bytes]:
        return int(body), b"no"

    with answering(answer) as url:
        target = Endpoint(url, (Body(b"200"), Body(b"503")))
        run = open_loop(target, np.array([0.0, 0.01]), 30)
    assert sorted(each.error for each in run.exchanges) == ["", "503"]
    gone = open_loop(Endpoint(url, target.bodies), np.array([0.0]), 30)  # nobody listens any more
    assert [each.error for each in gone.exchanges] == ["ClientConnectorError"]
