"""Measure what the model needs, and what it is checked against: one server, then two."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import psutil

from marsmith.archive.reading import glance
from marsmith.bench import target
from marsmith.bench.measure import Traffic, once
from marsmith.bench.sending import Run
from marsmith.bench.target import Body, Endpoint
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.recipe.reading import load
from marsmith.serving import server
from marsmith.serving.host import settings
from marsmith.serving.host.plan import ModelPlan
from marsmith.serving.host.processes import family
from marsmith.serving.host.run_folder import ServerInfo

SEED = 0
SHARES = (0.5, 0.75)  # of what one replica can, for the rates that are tried
LONE, FULL = 1, 2  # connections: a lone client; and batches' worth, for all that it can
SAMPLES = 1000  # of a batch size, at most
SHORT = 0.25  # of a run at a rate: how long all else lasts, whose percentiles aren't judged
COUNTED = "PreprocessTime_count"  # a worker's metric: one more per batch
SETTLED_S = 1.0  # a worker's metrics travel by its output, which Java reads
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Figures:
    """What came of one run.

    Attributes:
        replicas: how many servers, each on a core of its own.
        connections: to each, each with one request after another; 0 for Poisson arrivals.
        rate: of these, requests per second to each.
        seeds: of each server's arrivals.
        seconds: how long they came.
        per_s: answers per second, behind the warm-up.
        p50_ms: half of the answers came within.
        p99_ms: 99 of 100.
        per_batch: answers per batch, in the mean, with the warm-up.
        failed: how many requests.
        late_ms: 99 of 100 requests were sent so late by the client, at most.
    """

    replicas: int
    connections: int
    rate: float
    seeds: tuple[int, ...]
    seconds: float
    per_s: float
    p50_ms: float
    p99_ms: float
    per_batch: float
    failed: int
    late_ms: float


class Spent(NamedTuple):
    """What was spent, since some moment: on the clock, by a server without its workers, by us.

    Attributes:
        wall_s: seconds.
        others_s: CPU seconds of all of a server but its workers.
        client_s: CPU seconds of this process.
        batches: how many its workers have answered.
    """

    wall_s: float
    others_s: float
    client_s: float
    batches: float

    def since(self, before: Spent) -> Spent:
        """What came after a moment."""
        return Spent(*(now - then for now, then in zip(self, before, strict=True)))


def measure(recipe: Path, store: Path, seconds: float) -> dict[str, object]:
    """Measure an archive: its batches, one server, and two; each server is pinned to a core.

    The client has the second core, which it shares with the second server.

    Args:
        recipe: of the archive, for its held-out data.
        store: where the archive is.
        seconds: how long each run at a rate takes; all else takes a quarter of that.

    Returns:
        What `check` and `plan` read, as JSON can say it.

    Raises:
        SystemExit: this machine has one core.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("one core is too few: the client needs another than the server")
    read = load(recipe)
    archive, bodies = store / f"{read.name}.mar", target.held_out(read)
    config = glance(archive).config
    plan = settings.read(read.name, archive)
    batch_size, busy = int(str(config["batchSize"])), os.getloadavg()[0]
    with pinned(cores[0]):
        service = batches(archive, bodies, batch_size, seconds * SHORT)
    runs: list[Figures] = []
    lone = Traffic(connections=LONE, seconds=seconds * SHORT)
    most = Traffic(connections=FULL * batch_size, seconds=seconds * SHORT)
    with ExitStack() as stack:
        servers: list[server.Server] = []
        targets: list[Endpoint] = []
        starts: list[float] = []
        for core in cores[:2]:
            began = time.perf_counter()
            with pinned(core):
                servers.append(stack.enter_context(server.serve([archive], port=0)))
            starts.append(time.perf_counter() - began)
            targets.append(target.of_model(servers[-1], read.name, bodies, "held-out data"))
            with pinned(cores[1]):
                once(warm_up_of(targets[-1]), settling(seconds, batch_size))
                if len(servers) == 1:
                    idle = spent(servers)
                    time.sleep(seconds * SHORT)
                    used = [(spent(servers).since(idle), 0)]
                    alone, cost = asked(servers, targets, lone, runs)
                    used.append((cost, len(alone)))
                took, cost = asked(servers, targets, most, runs)
                used.append((cost, len(took)))
                if len(servers) == 1:
                    client_s, full = cost.client_s / len(took), runs[-1].per_s
                for share in SHARES:
                    some = Traffic(rate=share * full, seconds=seconds)
                    took, cost = asked(servers, targets, some, runs)
                    used.append((cost, len(took)))
    own = settings_of(plan, config, full) | others(used[: 3 + len(SHARES)])  # of one server
    beyond = differences(alone, service[1], own)
    return {
        "name": read.name, "archive_bytes": archive.stat().st_size, "load_average": busy,
        "settings": own, "service": service, "beyond": beyond,
        "idle_share": own.pop("idle_share"), "client_s": client_s, "start_s": starts,
        "runs": [asdict(each) for each in runs],
    }  # fmt: skip


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this process, and what it starts in the block, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def warm_up_of(endpoint: Endpoint) -> Endpoint:
    """The same, asked for its shortest body alone."""
    return replace(endpoint, bodies=(min(endpoint.bodies, key=lambda each: len(each.content)),))


def settling(seconds: float, batch_size: int) -> Traffic:
    """What a JVM is asked before anything counts: as many requests as can be had in a while.

    It compiles what it has often run, on the core that is measured, for milliseconds at a time.
    """
    return Traffic(connections=2 * FULL * batch_size, seconds=2 * seconds * SHORT)


def batches(
    archive: Path, bodies: Sequence[Body], batch_size: int, seconds: float
) -> dict[int, list[float]]:
    """How long TorchServe's own worker takes for batches, by their size, in seconds.

    Sizes are powers of two, and the largest; for each, at most `SAMPLES` of those that fit into
    its share of the time.
    """
    sizes = sorted({2**k for k in range(batch_size.bit_length())} | {batch_size})
    chance = random.Random(SEED)  # noqa: S311 - no secret
    found: dict[int, list[float]] = {}
    with Harness(archive, batch_size=batch_size) as worker:
        for size in [batch_size, *sizes]:  # the first warms it up, and is measured again
            found[size], until = [], time.perf_counter() + seconds / (len(sizes) + 1)
            while time.perf_counter() < until and len(found[size]) < SAMPLES:
                some = [chance.choice(bodies) for _ in range(size)]
                requests = [Request.raw(each.content, each.media_type) for each in some]
                began = time.perf_counter()
                worker.predict(requests)
                found[size].append(time.perf_counter() - began)
            worker.take_log()
    return found


def asked(
    servers: Sequence[ServerInfo],
    targets: Sequence[Endpoint],
    traffic: Traffic,
    runs: list[Figures],
) -> tuple[list[float], Spent]:
    """Put the same load on each server at once; add the figures.

    Returns:
        How long answers took, in seconds, and what all servers spent together.
    """
    seeds = tuple(SEED + len(runs) * 10 + place for place in range(len(targets)))
    before = spent(servers)
    with ThreadPoolExecutor(len(targets)) as pool:
        found = list(pool.map(once, targets, [traffic] * len(targets), seeds))
    cost = spent(servers).since(before)
    runs.append(figures(found, traffic, seeds, cost.batches))
    return [e.done - e.intended for run in found for e in run.exchanges if not e.error], cost


def figures(
    found: Sequence[Run], traffic: Traffic, seeds: tuple[int, ...], batches: float
) -> Figures:
    """Summarise what came of the same load on each of some servers."""
    counted = [e for run in found for e in run.exchanges if e.intended >= traffic.warm_up_s]
    good = [e.done - e.intended for e in counted if not e.error]
    if not good:
        raise SystemExit(f"nothing was answered: {counted[0].error if counted else 'too short'}")
    return Figures(
        replicas=len(found),
        connections=0 if traffic.rate else traffic.connections,
        rate=traffic.rate or 0.0,
        seeds=seeds,
        seconds=traffic.seconds,
        per_s=len(good) / (max(e.done for e in counted) - traffic.warm_up_s),
        p50_ms=float(np.quantile(good, 0.5)) * 1e3,
        p99_ms=float(np.quantile(good, 0.99)) * 1e3,
        per_batch=sum(not e.error for run in found for e in run.exchanges) / max(batches, 1),
        failed=len(counted) - len(good),
        late_ms=float(np.quantile([e.sent - e.intended for e in counted], 0.99)) * 1e3,
    )


def others(used: Sequence[tuple[Spent, int]]) -> dict[str, float]:
    """What a server's core does beside its workers: by the second, by the batch, by the request.

    Java's part is mostly by the batch, whose lines of metrics it reads. So what a request costs
    when batches are full isn't what it costs when they aren't.

    Args:
        used: what was spent in some runs of one server, and how many requests it answered there.

    Returns:
        The least squares of these that aren't negative: `idle_share` of a core, `batch_s` and
        `request_s`.
    """
    names = ("idle_share", "batch_s", "request_s")
    rows = np.array([[cost.wall_s, cost.batches, answered] for cost, answered in used])
    cpu = np.array([cost.others_s for cost, _ in used])
    best, least = dict.fromkeys(names, 0.0), float(cpu @ cpu)
    for count in (1, 2, 3):
        for places in itertools.combinations(range(3), count):
            some = rows[:, places]
            found = np.linalg.lstsq(some, cpu, rcond=None)[0]
            off = float(np.square(some @ found - cpu).sum())
            if (found >= 0).all() and off < least:
                least = off
                best = dict.fromkeys(names, 0.0)
                best |= {names[k]: float(s) for k, s in zip(places, found, strict=True)}
    return best


def differences(
    took: Sequence[float], worker: Sequence[float], own: dict[str, float]
) -> list[float]:
    """What a lone client's answers took beyond the worker and what is known, by quantiles.

    Where less is left than nothing in the middle, a part of what a batch costs comes after its
    answer: so much of `batch_s` is moved to `later_s` in `own`.
    """
    places = np.linspace(0.01, 0.99, 50)
    left = np.quantile(took, places) - np.quantile(worker, places)
    left -= own["delay_s"] + own["request_s"] + own["batch_s"]
    later = min(own["batch_s"], max(0.0, -float(np.median(left))))
    own["batch_s"] -= later
    own["later_s"] = later
    return [float(each) for each in np.maximum(left + later, 0.0)]


def spent(servers: Sequence[ServerInfo]) -> Spent:
    """What some servers, and this process, have spent so far."""
    others_s = 0.0
    for info in servers:
        for each in {*family(info.temp_dir), psutil.Process(info.pid)}:
            if not each.name().startswith("pt_main") and "model_service_worker" not in "".join(
                each.cmdline()
            ):
                others_s += sum(each.cpu_times()[:2])
    client_s = sum(psutil.Process().cpu_times()[:2])
    wall_s = time.perf_counter()
    return Spent(wall_s, others_s, client_s, sum(map(answered_batches, servers)))


def answered_batches(info: ServerInfo) -> float:
    """How many batches a server's workers have answered; read until no more come."""
    key = json.loads(info.key_file.read_text("utf-8"))["inference"]["key"]
    before, now = -1.0, 0.0
    while before < now:
        time.sleep(SETTLED_S)
        said = httpx.get(
            f"{info.metrics_address}/metrics",
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
        ).text
        lines = [line for line in said.splitlines() if line.startswith(COUNTED)]
        before, now = now, sum(float(line.split()[-1]) for line in lines)
    return now


def settings_of(plan: ModelPlan, config: dict[str, object], per_s: float) -> dict[str, float]:
    """What a replica is; the front's limit is what one who waits so long may have before him."""
    limit = min(plan.most, max(plan.at_once, int(per_s * plan.queue_timeout_s)))
    return {
        "batch_size": int(str(config["batchSize"])),
        "delay_s": float(str(config["maxBatchDelay"])) / 1e3,
        "workers": int(str(config["minWorkers"])),
        "limit": limit,
    }
