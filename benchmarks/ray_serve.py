"""One model on three servers of this machine, in turns.

TorchServe behind the front, Ray Serve through marsmith, and Ray Serve with a deployment written by
hand that runs the same ONNX file.

    marsmith build archiver_configs/digits.yaml --candidate onnx:fp32 --model-store model_store/onnx
    python -m benchmarks.ray_serve [--model digits] [--seconds 5] [--rounds 3]

Each has two workers of one thread and the archive's own batches. All answer the same, or nothing
is measured. Needs marsmith[dev,ray].
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.generation import FOLLOWING
from benchmarks.peers.asking import Found, answers, dumped, loaded, say, table, words
from benchmarks.peers.models import MODELS, TEXT, settings
from benchmarks.peers.plain import plain
from handlers import cpu
from marsmith.bench import target
from marsmith.bench.figures import Summary
from marsmith.bench.target import Body, Endpoint
from marsmith.serving import server
from marsmith.serving.front import keys
from marsmith.serving.ray import app
from marsmith.serving.ray.node import Node
from marsmith.tune.variants import variant

REPLICAS, CORES = 2, 8
BY_HAND = "by_hand"
KINDS = {model.archive: kind for kind, model in MODELS.items() if kind != "constant"}
TORCHSERVE, RAY, HAND = (
    "TorchServe, behind the front", "Ray Serve, through marsmith", "Ray Serve, written by hand",
)  # fmt: skip


class ByHand:
    """What somebody would write who has an ONNX file and Ray Serve.

    Args:
        file: the settings; see `benchmarks.peers.plain`.
        most: requests in a batch.
        wait_s: how long a batch waits to fill.
    """

    def __init__(self, file: str, most: int, wait_s: float) -> None:
        from ray import serve

        self._plain = plain(Path(file))

        async def predict(bodies: list[bytes]) -> list[Any]:
            found: list[Any] = self._plain.answer([self._plain.decode(each) for each in bodies])
            return found

        self._predict = serve.batch(max_batch_size=most, batch_wait_timeout_s=wait_s)(predict)

    async def __call__(self, request: Any) -> Any:
        """Answer a request of HTTP."""
        return await self._predict(await request.body())


@contextmanager
def on_ray(mar: Path, file: Path, port: int, temp: Path) -> Iterator[None]:
    """Serve the archive through marsmith, and its ONNX file by hand."""
    node = Node(temp)  # before Ray is imported
    from ray import serve

    with zipfile.ZipFile(mar) as files:
        config = yaml.safe_load(files.read("model-config.yaml"))
    most, wait_s = config["batchSize"], config["maxBatchDelay"] / 1e3
    try:
        node.start(CORES)
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(app({"archives": [str(mar)]}), name="marsmith", route_prefix="/")
        written = serve.deployment(ByHand).options(
            num_replicas=REPLICAS, max_ongoing_requests=2 * most,
            logging_config={"enable_access_log": False},
        )  # fmt: skip
        bound = written.bind(str(file), most, wait_s)
        serve.run(bound, name=BY_HAND, route_prefix=f"/predictions/{BY_HAND}")
        yield
    finally:
        if node.runs:
            serve.shutdown()
        node.end()


def measured(
    turns: Mapping[str, Endpoint],
    counts: tuple[int, ...],
    rounds: int,
    seconds: float,
    *,
    tokens: bool,
) -> Found:
    """Load each in its turn, several times over; the first of each only warms up."""
    found: dict[str, dict[str, list[Summary]]] = {}
    for number in range(1 + rounds):
        for name, endpoint in turns.items():
            for count in counts:
                figures = loaded(endpoint, count, seconds, tokens=tokens)
                if number:
                    found.setdefault(name, {}).setdefault(str(count), []).append(figures)
                    say(f"round {number}, {name}, {count}: {words(figures)}")
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", choices=[*KINDS], default="digits")
    parser.add_argument("--model-store", type=Path, default=Path("model_store/onnx"))
    parser.add_argument("--connections", type=int, nargs="+", default=[16])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="by default ray-MODEL.json")
    options = parser.parse_args()
    name, load = options.model, os.getloadavg()
    model = MODELS[KINDS[name]]
    built = options.model_store / f"{name}.mar"
    if not built.exists():
        command = f"marsmith build archiver_configs/{name}.yaml --candidate onnx:fp32"
        raise SystemExit(f"there is no {built}: {command} --model-store {options.model_store}")
    # The path of a Unix socket has 104 bytes at most.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="m", ignore_cleanup_errors=True) as folder:
        os.environ["MARSMITH_STATE"] = f"{folder}/state"
        key = {"Authorization": f"Bearer {keys.add('benchmark')}"}
        workers = {"minWorkers": REPLICAS, "maxWorkers": REPLICAS}
        (served := Path(folder, "served")).mkdir()
        (files := Path(folder, "files")).mkdir()
        mar = variant(built, name, workers, served)
        file = settings(KINDS[name], mar, files)
        bodies = [Body(each, model.media_type) for each in model.bodies()]
        asked, more = bodies, dict[str, object]()
        if model.streams:
            asked = [Body(json.loads(each.content)["prompt"].encode(), TEXT) for each in bodies]
            more = {"max_new_tokens": FOLLOWING}
        with server.serve([mar], port=0) as info:
            port = info.port + 1
            address = f"http://127.0.0.1:{port}/predictions"
            torchserve = target.of_model(info, name, asked, "held-out data", more)
            turns = {
                RAY: replace(torchserve, url=f"{address}/{name}", headers=key, temp_dir=None),
                TORCHSERVE: torchserve,
                HAND: Endpoint(f"{address}/{BY_HAND}", tuple(bodies)),
            }
            with on_ray(mar, file, port, Path(folder)):
                said = {each: answers(endpoint) for each, endpoint in turns.items()}
                for each, theirs in said.items():
                    if why := model.differs(said[TORCHSERVE], theirs):
                        raise SystemExit(f"{each} doesn't answer as TorchServe: {why}")
                counts = tuple(options.connections)
                found = measured(
                    turns, counts, options.rounds, options.seconds, tokens=model.streams
                )
    raw = {
        "model": name,
        "load_before": load,
        "instructions": sorted(cpu.instructions()),
        "found": dumped(found),
    }
    out = options.out or Path(f"ray-{name}.json")
    out.write_text(json.dumps(raw, indent=2))
    print(f"{name}; instructions: {', '.join(raw['instructions'])}; load before {load}\n")
    print(table(found, RAY))


if __name__ == "__main__":
    main()
