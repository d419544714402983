"""Measure what the model needs, and what it is checked against: one server, then two."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

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
SAMPLES = 200


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
    failed: int
    late_ms: float


def measure(recipe: Path, store: Path, seconds: float) -> dict[str, object]:
    """Measure an archive: its batches, one server, and two; each server is pinned to a core.

    The client has the second core, which it shares with the second server.

    Args:
        recipe: of the archive, for its held-out data.
        store: where the archive is.
        seconds: how long each run takes.

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
        service = batches(archive, bodies, batch_size, seconds / 2)
    runs: list[Figures] = []
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
                if len(servers) == 1:
                    [lone] = asked(targets, Traffic(connections=LONE, seconds=seconds / 2), runs)
                before = spent(servers[0])
                asked(targets, Traffic(connections=FULL * batch_size, seconds=seconds), runs)
                if len(servers) == 1:
                    answered = runs[-1].per_s * seconds
                    request_s, client_s = [s / answered for s in spent(servers[0], before)]
                    full = runs[-1].per_s
                for share in SHARES:
                    asked(targets, Traffic(rate=share * full, seconds=seconds), runs)
    own = settings_of(plan, config, full)
    beyond = differences(lone, service[1], own["delay_s"] + request_s)
    return {
        "name": read.name, "archive_bytes": archive.stat().st_size, "load_average": busy,
        "settings": own, "service": service, "beyond": beyond,
        "request_s": request_s, "client_s": client_s, "start_s": starts,
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


def asked(targets: Sequence[Endpoint], traffic: Traffic, runs: list[Figures]) -> list[list[float]]:
    """Put the same load on each server at once; add the figures, and return the latencies."""
    seeds = tuple(SEED + len(runs) * 10 + place for place in range(len(targets)))
    with ThreadPoolExecutor(len(targets)) as pool:
        found = list(pool.map(once, targets, [traffic] * len(targets), seeds))
    runs.append(figures(found, traffic, seeds))
    return [[e.done - e.intended for e in run.exchanges if not e.error] for run in found]


def figures(found: Sequence[Run], traffic: Traffic, seeds: tuple[int, ...]) -> Figures:
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
        failed=len(counted) - len(good),
        late_ms=float(np.quantile([e.sent - e.intended for e in counted], 0.99)) * 1e3,
    )


def differences(took: Sequence[float], worker: Sequence[float], known: float) -> list[float]:
    """What a lone client's answers took beyond the worker and what is known, by quantiles."""
    places = np.linspace(0.01, 0.99, 50)
    left = np.quantile(took, places) - np.quantile(worker, places) - known
    return [float(each) for each in np.maximum(left, 0.0)]


def spent(info: ServerInfo, before: tuple[float, float] = (0.0, 0.0)) -> tuple[float, float]:
    """CPU seconds since `before` of all of a server but its workers, and of this process."""
    others = 0.0
    for each in {*family(info.temp_dir), psutil.Process(info.pid)}:
        if not each.name().startswith("pt_main") and "model_service_worker" not in "".join(
            each.cmdline()
        ):
            others += sum(each.cpu_times()[:2])
    return others - before[0], sum(psutil.Process().cpu_times()[:2]) - before[1]


def settings_of(plan: ModelPlan, config: dict[str, object], per_s: float) -> dict[str, float]:
    """What a replica is; the front's limit is what one who waits so long may have before him."""
    limit = min(plan.most, max(plan.at_once, int(per_s * plan.queue_timeout_s)))
    return {
        "batch_size": int(str(config["batchSize"])),
        "delay_s": float(str(config["maxBatchDelay"])) / 1e3,
        "workers": int(str(config["minWorkers"])),
        "limit": limit,
    }
