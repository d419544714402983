"""ResNet-50 on a GPU as it is served: the best form in a worker and behind TorchServe, by turns.

The archive is built for the GPU by `runtime: auto`, from the recipe that ships. It is asked in a
worker without Java, then behind TorchServe and the front, with one worker and several; then comes
TorchServe's own `image_classifier` around the same module as TorchScript, with the same batches.
All bodies are the recipe's held-out JPEGs, between 256 and 533 pixels wide or high.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from benchmarks.peers.asking import Peer, answers
from benchmarks.stock import Handler, stock_server
from examples import resnet50
from handlers import cpu
from marsmith.bench import target
from marsmith.bench.measure import Traffic, measure
from marsmith.bench.target import Body, Endpoint
from marsmith.errors import MarsmithError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.recipe.sections import Recipe
from marsmith.report.measurements import Timing
from marsmith.report.report import Report
from marsmith.serving import server

BATCH = 32
CONNECTIONS = (1, 64)
WORKERS = (1, 4)
ROUNDS = 2
STOCK = """
from ts.torch_handler.image_classifier import ImageClassifier


class Classifier(ImageClassifier):
    pass
"""


def run(device: str, seconds: float) -> None:
    """Build, measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        report = build(recipe(device), Path(folder), say=lambda line: None)
        assert report is not None  # noqa: S101 - there is one process
        forms(report)
        archive = Path(folder) / "resnet50.mar"
        bodies = [Body(each, "image/jpeg") for each in resnet50.held_out()]
        in_a_worker(archive, [each.content for each in bodies], seconds)
        module = Path(folder) / "module.pt"
        scripted(module)
        behind_torchserve(archive, module, bodies, seconds)


def recipe(device: str) -> Recipe:
    """ResNet-50's, for the device; everything that runs there is tried."""
    shipped = reading.load(Path("archiver_configs/resnet50.yaml"))
    serving = shipped.serving.model_copy(
        update={"device": device, "batch_size": BATCH, "max_batch_delay_ms": 5, "max_workers": 8}
    )
    forms = ["torchscript:fp32"]
    if device == "gpu":
        forms += ["torchscript:fp16", "pt2:fp16", "eager:fp16", "onnx:fp16"]
    changes = {"serving": serving, "candidates": tuple(forms), "calibration": None}
    return shipped.model_copy(update=changes)


def forms(report: Report) -> None:
    """Print what was tried."""
    print("\n### The build\n")
    print("| candidate | | p50 ms at 1 | per s in batches | × |")
    print("|---|---|---|---|---|")
    original = report.original
    rows: list[tuple[str, str, Timing | None]] = [("the original", "", original)]
    rows += [(f"{c.runtime}:{c.precision}", c.status, c.timing) for c in report.candidates]
    for name, status, timing in rows:
        if timing is None:
            print(f"| {name} | {status} | - | - | - |")
            continue
        gain = timing.samples_per_s / original.samples_per_s
        print(f"| {name} | {status} | {timing.p50_ms} | {timing.samples_per_s:.0f} | {gain:.2f} |")


def in_a_worker(archive: Path, bodies: list[bytes], seconds: float) -> None:
    """Print how much a worker answers without Java, in full batches."""
    requests = [Request.raw(body, "image/jpeg") for body in bodies]
    turn = itertools.cycle(requests)
    with Harness(archive, batch_size=BATCH) as harness:
        described = harness.describe()
        for _ in range(3):
            harness.predict([next(turn) for _ in range(BATCH)])
        began, answered = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            answered += len(harness.predict([next(turn) for _ in range(BATCH)]))
        rate = answered / (time.perf_counter() - began)
    said = {key: described[key] for key in ("device", "runtime", "precision", "threads")}
    print(f"\nIn a worker, batches of {BATCH}: {rate:.0f} images/s; {said}; {cpu.cores()} cores")


def scripted(path: Path) -> None:
    """Write the original as people do for TorchServe's own handler."""
    module = resnet50.model()
    resnet50.settle(module)
    torch.jit.save(torch.jit.script(module.eval()), str(path))


@contextmanager
def ours(archive: Path, bodies: list[Body], workers: int) -> Iterator[Endpoint]:
    """The archive as `marsmith serve` starts it, scaled."""
    with server.serve([archive], port=0) as info:
        server.scale(info, archive.stem, workers, workers)
        yield target.of_model(info, archive.stem, bodies, "held-out photographs")


@contextmanager
def stock(module: Path, bodies: list[Body], workers: int) -> Iterator[Endpoint]:
    """TorchServe with its own handler."""
    settings = {
        "minWorkers": workers, "maxWorkers": workers, "batchSize": BATCH, "maxBatchDelay": 5,
    }  # fmt: skip
    handler = Handler(STOCK, (), bodies[0].content, settings, module)
    with stock_server({"classifier": handler}) as port:
        yield Endpoint(f"http://127.0.0.1:{port}/predictions/classifier", tuple(bodies))


def behind_torchserve(archive: Path, module: Path, bodies: list[Body], seconds: float) -> None:
    """Print what is answered by HTTP."""
    every: dict[str, Peer] = {}
    for count in WORKERS:
        every[f"marsmith, {count} worker(s)"] = partial(ours, archive, bodies, count)
    for count in WORKERS:
        name = f"TorchServe's image_classifier, {count} worker(s)"
        every[name] = partial(stock, module, bodies, count)
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for _ in range(ROUNDS):
        for name, serve in every.items():
            try:
                with serve() as endpoint:
                    answers(endpoint, len(endpoint.bodies))
                    for connections in CONNECTIONS:
                        traffic = Traffic(connections=connections, seconds=seconds)
                        (one,) = measure(endpoint, traffic, 1)[0].runs
                        figures = (one.per_s, one.p50_ms, one.p99_ms)
                        found.setdefault((name, connections), []).append(figures)
            except (MarsmithError, SystemExit) as error:
                print(f"{name}: {str(error)[:1500]}")
    print("\n### By HTTP, images/s (rounds), p50 and p99 in ms\n")
    print("| | " + " | ".join(f"{count} connections" for count in CONNECTIONS) + " |")
    print("|---" * (1 + len(CONNECTIONS)) + "|")
    for name in every:
        cells = []
        for connections in CONNECTIONS:
            runs = found.get((name, connections), [])
            rates = ", ".join(f"{rate:.0f}" for rate, _, _ in runs)
            p50, p99 = (
                statistics.median(run[place] for run in runs) if runs else 0.0 for place in (1, 2)
            )
            cells.append(f"{rates}; {p50:.1f}, {p99:.1f}" if runs else "-")
        print(f"| {name} | " + " | ".join(cells) + " |")
