"""What a server's front promises, tried: stops, deaths, overload, forms and slow connections.

    python -m benchmarks.faults [drain] [sigterm] [kills] [down] [overload] [forms] [slow]
        [rollouts] [--bare]

Each prints one JSON document. A request is lost when it gets no answer of HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import authorization
from benchmarks.sleeper import (
    CANDIDATES,
    TIMEOUT_S,
    Answers,
    ask,
    asking,
    connect,
    counted,
    pack,
    predicting,
    sleeping,
)
from examples.digits import held_out
from marsmith.errors import MarsmithError
from marsmith.serving import server
from marsmith.serving.host.ports import free_ports
from marsmith.serving.host.processes import family
from marsmith.serving.server import Server


def drain(front: bool, times: int = 20) -> dict[str, Any]:
    """Stop a server again and again under 32 clients of a model of 300 ms."""
    every: Answers = []
    stops = []
    for _ in range(times):
        with sleeping(0.3, front, workers=2, grace_s=60.0) as info, asking(info, 32) as answers:
            time.sleep(2.0)
            began = time.perf_counter()
            info.stop()
            stops.append(time.perf_counter() - began)
        every += answers
    return {"stops": times, **counted(every), "stop_median_s": round(statistics.median(stops), 2)}


def sigterm(front: bool, times: int = 5) -> dict[str, Any]:
    """Send SIGTERM to `marsmith serve --foreground` again and again under 32 clients."""
    every: Answers = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            packed = pack(Path(folder), 0.3, "good", {"minWorkers": 2, "maxWorkers": 2})
            port = free_ports(1)[0]
            command = [sys.executable, "-m", "marsmith.cli", "serve", str(packed), "--foreground"]
            command += ["--port", str(port), "--grace-s", "60", *([] if front else ["--no-front"])]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
                while (info := _found(port)) is None:
                    time.sleep(0.2)
                with asking(info, 32) as answers:
                    time.sleep(2.0)
                    process.send_signal(signal.SIGTERM)
                    process.wait(TIMEOUT_S + 60.0)
        every += answers
    return {"stops": times, **counted(every)}


def _found(port: int) -> Server | None:
    try:
        return server.running(port)
    except MarsmithError:
        return None


def kills(front: bool, workers: int = 50, javas: int = 10, proxies: int = 10) -> dict[str, Any]:
    """Kill processes, one after another, under 8 clients of two workers and 4 of our own.

    Ours send again what may be sent again.
    """
    found: dict[str, Any] = {}
    for name, times in (("python", workers), ("java", javas), ("haproxy", proxies)):
        with (
            sleeping(0.02, front, workers=2) as info,
            predicting(info, 4) as ours,
            asking(info, 8) as answers,
        ):
            back = []
            for _ in range(times):
                time.sleep(random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                next(p for p in family(info.temp_dir) if p.name().startswith(name)).kill()
                began = time.perf_counter()
                time.sleep(0.5)
                while not _whole(info):
                    time.sleep(0.05)
                back.append(time.perf_counter() - began)
        found[name] = {
            "kills": times, **counted(answers), "our_clients": counted(ours),
            "back_median_s": round(statistics.median(back), 2),
        }  # fmt: skip
    return found


def _whole(info: Server) -> bool:
    said = info.status()
    return said.ready and all(w.ready for m in said.models for w in m.workers)


def down(front: bool, requests: int = 300) -> dict[str, Any]:
    """Ask a model whose only worker is gone, over and over, until it is back."""
    with sleeping(0.0, front) as info, connect(info) as http:
        next(p for p in family(info.temp_dir) if p.name().startswith("python")).kill()
        began = time.perf_counter()
        while http.get("/v2/health/ready").status_code == 200:
            time.sleep(0.005)
        told = time.perf_counter() - began
        answers: Answers = []
        while len(answers) < requests and http.get("/v2/health/ready").status_code == 503:
            ask(http, answers)
        while not any(w.ready for m in info.status().models for w in m.workers):
            time.sleep(0.005)
        began = time.perf_counter()
        while http.get("/v2/health/ready").status_code == 503:
            time.sleep(0.005)
        again = time.perf_counter() - began
    return {
        **counted(answers), "not_ready_after_s": round(told, 3), "ready_after_s": round(again, 3),
    }  # fmt: skip


def overload(front: bool, times: float = 5.0, seconds: float = 20.0) -> dict[str, Any]:
    """Requests arrive at five times the rate that the model can answer; none waits for another."""
    service_s, bound_s = 0.05, 1.0
    with sleeping(service_s, front, queue_timeout_s=bound_s) as info:
        with asking(info, 4) as answers:
            time.sleep(5.0)
        most = len(answers) / 5.0
        arrived, lag = asyncio.run(_arrive(info, times * most, seconds))
    good = sorted(each for said, each in arrived if said.startswith("200"))
    refused = sorted(each for said, each in arrived if not said.startswith("200"))
    return {
        "most_per_s": round(most, 1),
        "asked_per_s": round(len(arrived) / seconds, 1),
        "generator_lag_p99_s": round(lag, 3),
        "answers": dict(Counter(said for said, _ in arrived)),
        "goodput": round(len(good) / seconds / most, 3),
        "queue_bound_s": bound_s,
        "accepted_p50_s": round(statistics.median(good), 3),
        "accepted_p99_s": round(good[int(len(good) * 0.99)], 3),
        "refused_p99_s": round(refused[int(len(refused) * 0.99)], 3) if refused else None,
        "refused_slowest_s": round(refused[-1], 3) if refused else None,
    }


async def _arrive(info: Server, rate: float, seconds: float) -> tuple[Answers, float]:
    """Open loop: send at random times of a given mean rate, whatever has been answered."""
    answers: Answers = []
    lags = []
    key = authorization(info)["Authorization"]
    head = f"POST /predictions/sleeper HTTP/1.1\r\nHost: a\r\nAuthorization: {key}\r\n"
    message = (head + "Content-Length: 1\r\nConnection: close\r\n\r\nx").encode()

    async def one(due: float) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", info.port)
            writer.write(message)
            said = await asyncio.wait_for(reader.read(), TIMEOUT_S)
            writer.close()
            status = said[9:12].decode()
            if status == "503" and b"etry-" not in said:
                status += " without Retry-After"
        except (OSError, asyncio.TimeoutError) as error:
            status = f"lost: {type(error).__name__}"
        answers.append((status, time.perf_counter() - due))

    chance = random.Random(0)  # noqa: S311 - no secret
    tasks = []
    due = began = time.perf_counter()
    while due < began + seconds:
        due += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        lags.append(time.perf_counter() - due)
        tasks.append(asyncio.create_task(one(due)))
    await asyncio.gather(*tasks)
    return answers, sorted(lags)[int(len(lags) * 0.99)]


def forms(front: bool, requests: int = 2000, size: int = 1_000_000) -> dict[str, Any]:
    """Forms that can't be read, a megabyte each: what Java keeps of them."""
    body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * size
    with server.serve(["digits"], port=0, front=front) as info, connect(info) as http:
        java = next(p for p in family(info.temp_dir) if p.name() == "java")
        statuses: Counter[str] = Counter()
        sizes = []
        for number in range(requests + 1):
            if number % (requests // 4) == 0:
                sizes.append(round(java.memory_info().rss / 1e6))
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            answer = http.post("/predictions/digits", content=body, headers=headers)
            statuses[str(answer.status_code)] += 1
        served = http.post("/predictions/digits", content=held_out()[0][0]).status_code
    return {"answers": dict(statuses), "java_mb": sizes, "a_good_one_after": served}


def slow(front: bool, connections: int = 200, seconds: float = 45.0) -> dict[str, Any]:
    """Connections that dawdle in five ways, beside good requests."""
    with sleeping(0.0, front) as info:

        def good() -> float:
            with asking(info, 4) as answers:
                time.sleep(10.0)
            taken = sorted(each for said, each in answers if said.startswith("200"))
            return taken[int(len(taken) * 0.99)]

        before = good()
        beside: list[float] = []
        thread = threading.Thread(target=lambda: beside.append(good()))
        thread.start()
        ended = asyncio.run(_dawdle(info, connections, seconds))
        thread.join()
    return {
        "good_p99_s": round(before, 4),
        "good_p99_beside_s": round(beside[0], 4),
        "ratio": round(beside[0] / before, 2),
        "closed_after_s": ended,
    }


async def _dawdle(info: Server, connections: int, seconds: float) -> dict[str, Any]:
    """How long each way of dawdling was borne, at the median, and how many were at the end."""
    key = authorization(info)["Authorization"]
    head = f"POST /predictions/sleeper HTTP/1.1\r\nHost: a\r\nAuthorization: {key}\r\n"
    whole = head + "Content-Length: 1\r\n\r\nx"
    ways = {
        "says nothing": ("", ""),
        "headers, letter by letter": (head, "X"),
        "a short body, letter by letter": (head + "Content-Length: 1000\r\n\r\n", "x"),
        "chunks, one by one": (head + "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
        "idle after an answer": (whole, ""),
    }
    ended: dict[str, list[float]] = {way: [] for way in ways}

    async def one(way: str) -> None:
        first, again = ways[way]
        began = time.perf_counter()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", info.port)
            writer.write(first.encode())
            reading = asyncio.create_task(_to_the_end(reader))
            while time.perf_counter() - began < seconds and not reading.done():
                await asyncio.wait([reading], timeout=1.0)
                writer.write(again.encode())
            if reading.done():
                ended[way].append(time.perf_counter() - began)
            reading.cancel()
            writer.close()
        except OSError:
            ended[way].append(time.perf_counter() - began)

    jobs: list[Awaitable[None]] = [one(way) for way in ways for _ in range(connections // 5)]
    await asyncio.gather(*jobs)
    return {
        way: {
            "closed": len(times),
            "median_s": round(statistics.median(times), 1) if times else None,
        }
        for way, times in ended.items()
    }


async def _to_the_end(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass


def rollouts(front: bool, times: int = 20) -> dict[str, Any]:
    """Roll good versions out, one after another, then bad ones, under 8 clients of two workers."""
    if not front:
        raise SystemExit("bare TorchServe has no rollouts")
    settings = {"minWorkers": 2, "maxWorkers": 2, "batchSize": 1, "maxBatchDelay": 1}
    settings |= {"responseTimeout": 60, "startupTimeout": 60}
    found: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        sleeping(0.02, front, workers=2) as info,
        asking(info, 8) as answers,
    ):
        wrong = 0
        for number in range(times):
            to = f"{number + 2}.0"
            packed = pack(Path(folder) / to, 0.02, "good", settings, to)
            info.rollout("sleeper", packed, canary=(25, 100), hold_s=1.0, max_p99_ratio=5.0)
            time.sleep(0.5)  # what was on its way is answered
            seen = len(answers)
            time.sleep(0.5)
            wrong += sum(said != f"200 of {to}" for said, _ in answers[seen:])
        found["good"] = {
            "rollouts": times,
            "not 200": sum(not said.startswith("200") for said, _ in answers),
            "answers": len(answers),
            "of another version after promotion": wrong,
        }
        for kind in list(CANDIDATES)[1:]:
            packed = pack(Path(folder) / kind, 0.02, kind, settings, "99.0")
            found[kind] = {}
            # Without comparing, nothing tells one that answers otherwise from a good one.
            for shadow in (0.1,) if kind == "answers otherwise" else (0.1, 0.0):
                found[kind][f"shadow {shadow}"] = _rolled_back(info, packed, answers, shadow)
    return found


def _rolled_back(info: Server, packed: Path, answers: Answers, shadow: float) -> dict[str, Any]:
    """Try to roll a bad version out; what was said, and what clients were answered meanwhile."""
    seen, began = len(answers), time.perf_counter()
    try:
        info.rollout("sleeper", packed, shadow=shadow, canary=(5, 50, 100), hold_s=20.0)
        verdict = "promoted"
    except MarsmithError as error:
        verdict = error.message.splitlines()[0]
    said = Counter(said for said, _ in answers[seen:])
    return {
        "said": verdict, "s": round(time.perf_counter() - began, 1), "answers": dict(said),
    }  # fmt: skip


FAULTS: dict[str, Callable[[bool], dict[str, Any]]] = {
    each.__name__: each for each in (drain, sigterm, kills, down, overload, forms, slow, rollouts)
}


def main() -> None:
    """Try what was named, or all, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", metavar="fault", default=[], help=", ".join(FAULTS))
    parser.add_argument("--bare", action="store_true", help="Without the front.")
    options = parser.parse_args()
    machine = f"{psutil.cpu_count()} cores"
    for name in options.faults or FAULTS:
        print(json.dumps({name: FAULTS[name](not options.bare), "on": machine}), flush=True)


if __name__ == "__main__":
    main()
