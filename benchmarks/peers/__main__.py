"""Serve, measure and stop each peer in turn; print a table, and write the raw data as JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx

from benchmarks import peers
from benchmarks.running import running
from benchmarks.stock import Handler, stock_server
from examples.resnet50 import held_out
from handlers import cpu
from marsmith.bench import target
from marsmith.bench.figures import Summary
from marsmith.bench.measure import Traffic, measure
from marsmith.bench.target import Body, Endpoint
from marsmith.errors import MarsmithError
from marsmith.serving import server
from marsmith.serving.host.ports import choose_ports

HERE = Path(__file__).parent
START_S = 120.0
Peer = Callable[[], AbstractContextManager[Endpoint]]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=str(peers.__doc__).splitlines()[0])
    parser.add_argument("--archive", type=Path, default=Path("model_store/resnet50.mar"))
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 1])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("peers.json"))
    options = parser.parse_args()
    bodies = [Body(each, "image/jpeg") for each in held_out()]
    found: dict[str, dict[int, list[Summary]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = extracted(options.archive, Path(folder))
        every = contenders(options.archive, model, options.python, bodies)
        chosen = {name: peer for name, peer in every.items() if name in (options.only or every)}
        for number in range(options.rounds):
            for name, peer in chosen.items():
                with peer() as endpoint:
                    warm_up(endpoint)
                    for count in options.connections:
                        traffic = Traffic(connections=count, seconds=options.seconds)
                        try:
                            (figures,) = measure(endpoint, traffic, 1)[0].runs
                        except MarsmithError as error:
                            print(f"{name}: {error.message}", file=sys.stderr)
                            continue
                        found.setdefault(name, {}).setdefault(count, []).append(figures)
                        said = f"{figures.per_s:.1f}/s, p50 {figures.p50_ms:.2f} ms"
                        print(f"round {number + 1}, {name}, {count}: {said}", file=sys.stderr)
    raw = {n: {c: [*map(dataclasses.asdict, r)] for c, r in f.items()} for n, f in found.items()}
    options.out.write_text(json.dumps(raw, indent=2))
    table(found, options.connections)


def table(found: Mapping[str, Mapping[int, list[Summary]]], connections: list[int]) -> None:
    """Print the medians as Markdown, and the CPU's instructions."""
    print(f"instructions: {', '.join(sorted(cpu.instructions()))}\n")
    heads = [f"{count} connections, answers/s (rounds) | p50 ms | p99 ms" for count in connections]
    print("| | " + " | ".join(heads) + " |\n" + "|---" * (1 + 3 * len(heads)) + "|")
    for name, figures in found.items():
        cells = []
        for count in connections:
            runs = figures.get(count, [])
            if not runs:
                cells += ["-"] * 3
                continue
            each = ", ".join(f"{run.per_s:.1f}" for run in runs)
            cells.append(f"{statistics.median(run.per_s for run in runs):.1f} ({each})")
            cells.append(f"{statistics.median(run.p50_ms for run in runs):.1f}")
            cells.append(f"{statistics.median(run.p99_ms for run in runs):.1f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def contenders(archive: Path, model: Path, python: Path, bodies: list[Body]) -> dict[str, Peer]:
    """Every server by name."""

    def peer(*command: str, path: str = "/predict", threads: int = 1, field: str = "data") -> Peer:
        asked = [form(each, field) for each in bodies] if field else bodies
        return lambda: other(command, python, model, path, threads, asked)

    uvicorn = ("-m", "uvicorn", "benchmarks.peers.fastapi_app:app", "--log-level", "warning")
    bento = ("-m", "bentoml", "serve", "benchmarks.peers.bentoml_app:Classifier", "-q")
    return {
        "marsmith": lambda: ours(archive, bodies),
        "marsmith, 2 workers": lambda: ours(archive, bodies, workers=2),
        "TorchServe 0.12, the same model": lambda: stock(model, bodies),
        "LitServe": peer("-m", "benchmarks.peers.litserve_app"),
        "BentoML": peer(*bento, field="images"),
        "FastAPI, 2 processes": peer(*uvicorn, "--workers", "2", field=""),
    }


@contextmanager
def ours(archive: Path, bodies: list[Body], workers: int | None = None) -> Iterator[Endpoint]:
    """The archive as `marsmith serve` starts it, or scaled."""
    with server.serve([archive], port=0) as info:
        if workers:
            server.scale(info, archive.stem, workers, workers)
        yield target.of_model(info, archive.stem, bodies, "held-out photographs")


@contextmanager
def stock(model: Path, bodies: list[Body]) -> Iterator[Endpoint]:
    """TorchServe with a handler of the user's own around the same model, tuned by hand."""
    text = (HERE / "plain.py").read_text()
    plain = model.parent / "plain.py"
    plain.write_text(text.replace('int(os.environ["PEER_THREADS"])', "1"))
    files = (plain, model, model.with_suffix(".bin"))
    settings = {"minWorkers": 2, "maxWorkers": 2, "batchSize": 8, "maxBatchDelay": 5}
    handler = Handler((HERE / "stock_app.py").read_text(), files, bodies[0].content, settings)
    with stock_server({"classifier": handler}) as port:
        yield Endpoint(f"http://127.0.0.1:{port}/predictions/classifier", tuple(bodies))


@contextmanager
def other(
    command: tuple[str, ...], python: Path, model: Path, path: str, threads: int, bodies: list[Body]
) -> Iterator[Endpoint]:
    """A server that a command starts; ended with all its processes."""
    port = choose_ports(0).inference
    environment = {
        **os.environ,
        "PEER_MODEL": str(model),
        "PEER_THREADS": str(threads),
        "PEER_PORT": str(port),
        "PYTHONPATH": str(Path.cwd()),
        "OMP_NUM_THREADS": str(threads),
    }
    more = [] if "litserve" in command[1] else ["--port", str(port)]
    with running((str(python), *command, *more), Path.cwd(), environment):
        yield Endpoint(f"http://127.0.0.1:{port}{path}", tuple(bodies))


def warm_up(endpoint: Endpoint) -> None:
    """Ask until it answers, and then all bodies once.

    Raises:
        SystemExit: it gives no answer.
    """
    until = time.monotonic() + START_S
    with httpx.Client(timeout=60) as client:
        for body in (endpoint.bodies[0], *endpoint.bodies):
            headers = {**endpoint.headers, "Content-Type": body.media_type}
            while True:
                try:
                    answer = client.post(endpoint.url, content=body.content, headers=headers)
                    if answer.status_code == 200:
                        break
                    said = answer.text[:500]
                except httpx.TransportError as error:
                    said = str(error)
                if time.monotonic() > until:
                    raise SystemExit(f"{endpoint.url}: {said}")
                time.sleep(0.3)


def form(body: Body, field: str = "data") -> Body:
    """The same body as a file in a form, for servers that take no raw one."""
    files = {field: ("image.jpg", body.content, body.media_type)}
    request = httpx.Request("POST", "http://localhost", files=files)
    return Body(request.read(), request.headers["Content-Type"])


def extracted(archive: Path, folder: Path) -> Path:
    """The OpenVINO model of an archive, in a folder.

    Raises:
        SystemExit: it has none.
    """
    with zipfile.ZipFile(archive) as packed:
        names = [name for name in packed.namelist() if name.endswith((".xml", ".bin"))]
        if not any(name.endswith(".xml") for name in names):
            raise SystemExit(f"{archive} has no OpenVINO model: build --candidate openvino:int8")
        for name in names:
            with packed.open(name) as source, (folder / Path(name).name).open("wb") as copy:
                shutil.copyfileobj(source, copy)
    return next(folder.glob("*.xml"))


if __name__ == "__main__":
    main()
