"""Requests that are cheap to send and dear to take, sent to a server: what each costs, and whom.

    python -m benchmarks.bombs [--archive digits.mar] [--rounds 3] [--seconds 10] [BOMB ...]

A bomb's cost is the CPU time of HAProxy, of Java and of the workers, from the first to the last of
several, which other load on the machine doesn't change; beside it, by how much the largest worker
grew. Each comes from another address, because the front lets a few of one client through. Then 16
clients ask for digits, in turns alone and beside one that sends bombs one after another: the ratio
of their 99th percentiles, turn by turn.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import authorization, put
from examples.digits import held_out
from marsmith.serving import server
from marsmith.serving.host.processes import family
from marsmith.serving.server import Server
from tests.support.images import blank_png, jpeg_of_scans

JSON = "application/json"
TIMES = 10
TIMEOUT_S = 60
Bomb = tuple[bytes, str]
"""A body and its media type."""


def _inputs() -> bytes:
    entry = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    return json.dumps({"inputs": [entry] * 250_000}).encode()


BOMBS: dict[str, Callable[[], Bomb]] = {
    "png": lambda: (blank_png(1, 49_000_000), "image/png"),
    "png_whole": lambda: (blank_png(7000, 7000, colour=6), "image/png"),
    "jpeg_scans": lambda: (jpeg_of_scans(58), "image/jpeg"),
    "v2_inputs": lambda: (_inputs(), JSON),
    "keys": lambda: (json.dumps(dict.fromkeys(map(str, range(1_100_000)))).encode(), JSON),
    "deep": lambda: (b"[" * 15_000_000, JSON),
    "numbers": lambda: (b'{"data":[' + b"1," * 8_000_000 + b"1]}", JSON),
    "strings": lambda: (b'{"data":[' + b'"",' * 5_000_000 + b'""]}', JSON),
    "string": lambda: (b'{"data":"' + b"A" * 16_000_000 + b'"}', JSON),
    "bytes": lambda: (bytes(17_000_000), "application/octet-stream"),
}


def post(info: Server, bomb: Bomb, address: str = "127.0.0.1") -> tuple[str, float]:
    """Send one; return the status, which a front may say before the body has come, and the time."""
    began = time.perf_counter()
    return _status(info, bomb, address), (time.perf_counter() - began) * 1000


def _status(info: Server, bomb: Bomb, address: str) -> str:
    body, media_type = bomb
    connection = http.client.HTTPConnection(
        "127.0.0.1", info.port, timeout=TIMEOUT_S, source_address=(address, 0)
    )
    try:
        headers = {**authorization(info), "Content-Type": media_type}
        try:
            connection.request("POST", "/predictions/digits", body, headers)
        except (BrokenPipeError, ConnectionResetError):
            early = http.client.HTTPResponse(connection.sock, method="POST")
            early.begin()
            return str(early.status)
        return str(connection.getresponse().status)
    except OSError as error:
        return type(error).__name__
    finally:
        connection.close()


def cost(info: Server, bomb: Bomb) -> dict[str, Any]:
    """What one costs the server, by process, and how long it took to be refused."""
    post(info, bomb)
    before, grown = _used(info), _largest(info)
    sent = [post(info, bomb, f"127.0.1.{number}") for number in range(TIMES)]
    after = _used(info)
    each = {f"{name}_cpu_ms": round((after[name] - before[name]) * 1000 / TIMES) for name in after}
    memory = round((_largest(info) - grown) / 1e6)
    return {**_told(sent), **each, "a_worker_grew_mb": memory}


def _told(sent: list[tuple[str, float]]) -> dict[str, Any]:
    """How often each status was said, and how long answers took: the median, and the longest."""
    taken = [milliseconds for _, milliseconds in sent]
    return {
        "answers": dict(Counter(status for status, _ in sent)),
        "median_ms": round(statistics.median(taken)),
        "longest_ms": round(max(taken)),
    }


def _used(info: Server) -> Counter[str]:
    """Seconds of the CPU so far, by program; workers are Python."""
    found: Counter[str] = Counter()
    for process in family(info.temp_dir):
        times = process.cpu_times()
        found[process.name().rstrip("3.1")] += times.user + times.system  # type: ignore[assignment]
    return found


def _largest(info: Server) -> int:
    sizes = [p.memory_info().rss for p in family(info.temp_dir) if p.name().startswith("python")]
    return int(max(sizes))


@contextmanager
def bombed(info: Server, bomb: Bomb | None) -> Iterator[list[tuple[str, float]]]:
    """Send a bomb again and again, one after another, until the block ends; or nothing."""
    said: list[tuple[str, float]] = []
    until = threading.Event()

    def go() -> None:
        while bomb and not until.is_set():
            said.append(post(info, bomb))

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield said
    finally:
        until.set()
        thread.join()


def beside(info: Server, bomb: Bomb, rounds: int, seconds: float) -> dict[str, Any]:
    """Good clients' percentiles, in turns alone and beside bombs, and what these were told."""
    bodies = [png for png, _ in held_out()[:32]]
    p99: dict[bool, list[float]] = {False: [], True: []}
    sent: list[tuple[str, float]] = []
    for _ in range(rounds):
        for with_bombs, mine in p99.items():
            with bombed(info, bomb if with_bombs else None) as said:
                load = put(info.port, "digits", bodies, authorization(info), seconds=seconds)
            mine.append(load.percentile_ms(0.99))
            sent += said
    ratios = [with_ / without for without, with_ in zip(p99[False], p99[True], strict=True)]
    return {
        "bombs_per_s": round(len(sent) / rounds / seconds, 1),
        "beside": _told(sent),
        "p99_ms": round(statistics.median(p99[False]), 1),
        "p99_ms_beside": round(statistics.median(p99[True]), 1),
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(each, 2) for each in sorted(ratios)],
    }


def main() -> None:
    """Send what was named, or all, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bombs", nargs="*", metavar="BOMB", help=", ".join(BOMBS))
    parser.add_argument("--archive", type=Path, default=Path("digits"))
    parser.add_argument("--rounds", type=int, default=3, help="0: only what each costs")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    with server.serve([options.archive], port=0) as info:
        for name in options.bombs or BOMBS:
            bomb = BOMBS[name]()
            found: dict[str, Any] = {"bomb": name, "mb": round(len(bomb[0]) / 1e6, 2)}
            found |= cost(info, bomb)
            if options.rounds:
                found |= beside(info, bomb, options.rounds, options.seconds)
            load = [round(each, 1) for each in psutil.getloadavg()]
            print(json.dumps({**found, "machine_load": load}), flush=True)


if __name__ == "__main__":
    main()
