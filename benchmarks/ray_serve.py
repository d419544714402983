"""One model on three servers of this machine, in turns: `python -m benchmarks.ray_serve`.

TorchServe behind the front, Ray Serve through marsmith, and Ray Serve with a deployment written by
hand that runs the same ONNX file. Each has two workers, batches of up to 16 and one thread in each
worker. Needs marsmith[dev,ray].
"""

from __future__ import annotations

import io
import json
import os
import statistics
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.load import Load, authorization, put
from examples.digits import held_out
from marsmith import our_handlers
from marsmith.serving import server
from marsmith.serving.front import keys
from marsmith.serving.ray import app
from marsmith.serving.ray.node import Node

ROUNDS, SECONDS, CONNECTIONS, REPLICAS, BATCH = 3, 5.0, 16, 2, 16
CORES = 8
BY_HAND = "by_hand"
ROOT = Path(__file__).parents[1]


class ByHand:
    """What somebody would write who has an ONNX file and Ray Serve."""

    def __init__(self, model: bytes) -> None:
        import onnxruntime
        from ray import serve

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options)
        self._name = self._session.get_inputs()[0].name

        async def predict(bodies: list[bytes]) -> list[dict[str, float]]:
            images = [Image.open(io.BytesIO(body)).convert("L") for body in bodies]
            batch = np.stack([np.asarray(image, np.float32)[None] / 255 for image in images])
            (logits,) = self._session.run(None, {self._name: batch})
            odds = np.exp(logits - logits.max(1, keepdims=True))
            scores = odds / odds.sum(1, keepdims=True)
            return [
                {str(label): float(row[label]) for label in np.argsort(-row)[:3]} for row in scores
            ]

        batched = serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.001)
        self._predict = batched(predict)

    async def __call__(self, request: Any) -> dict[str, float]:
        """Answer a request of HTTP whose body is an image of 8x8 pixels."""
        answer: dict[str, float] = await self._predict(await request.body())
        return answer


def archive(store: Path) -> Path:
    """The digits model as an archive of an ONNX file."""
    our_handlers.claim()
    from marsmith.pipeline.build import build
    from marsmith.pipeline.candidates import only
    from marsmith.recipe.reading import load

    recipe = load(ROOT / "archiver_configs" / "digits.yaml")
    build(only(recipe, ["onnx:fp32"]), store)
    return store / "digits.mar"


@contextmanager
def on_ray(mar: Path, port: int, temp: Path) -> Iterator[None]:
    """Serve the archive through marsmith, and its ONNX file by hand."""
    node = Node(temp)  # before Ray is imported
    from ray import serve

    with zipfile.ZipFile(mar) as files:
        (name,) = (each for each in files.namelist() if each.endswith(".onnx"))
        model = files.read(name)
    try:
        node.start(CORES)
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(app({"archives": [str(mar)]}), name="marsmith", route_prefix="/")
        written = serve.deployment(ByHand).options(
            num_replicas=REPLICAS, max_ongoing_requests=2 * BATCH,
            logging_config={"enable_access_log": False},
        )  # fmt: skip
        serve.run(written.bind(model), name=BY_HAND, route_prefix=f"/predictions/{BY_HAND}")
        yield
    finally:
        if node.runs:
            serve.shutdown()
        node.end()


def measure(turns: Mapping[str, Callable[[], Load]]) -> dict[str, list[Load]]:
    """Load each in its turn, several times over; the first of each only warms up."""
    found: dict[str, list[Load]] = {name: [] for name in turns}
    for number in range(1 + ROUNDS):
        for name, put_load in turns.items():
            load = put_load()
            if number:
                found[name].append(load)
    return found


def told(name: str, loads: list[Load], least: float) -> str:
    """A line of the table: medians over the rounds, and the rate as a share of another's."""
    rate = statistics.median(load.per_s for load in loads)
    p50, p99 = (
        statistics.median(load.percentile_ms(share) for load in loads) for share in (0.5, 0.99)
    )
    return f"{name:32} {rate:8.0f} {p50:8.1f} {p99:8.1f} {rate / least:7.2f}"


def main() -> None:
    """Measure, and print a table."""
    # The path of a Unix socket has 104 bytes at most.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="m", ignore_cleanup_errors=True) as folder:
        os.environ["MARSMITH_STATE"] = f"{folder}/state"
        mar = archive(Path(folder))
        headers = {"Authorization": f"Bearer {keys.add('benchmark')}"}
        bodies = [image for image, _ in held_out()]
        info = server.serve([mar], port=0)
        port = info.port + 1
        of_torchserve = authorization(info)
        often: dict[str, Any] = {"connections": CONNECTIONS, "seconds": SECONDS}
        try:
            with on_ray(mar, port, Path(folder)):
                turns = {
                    "TorchServe, behind the front": lambda: put(
                        info.port, "digits", bodies, of_torchserve, **often
                    ),
                    "Ray Serve, through marsmith": lambda: put(
                        port, "digits", bodies, headers, **often
                    ),
                    "Ray Serve, written by hand": lambda: put(port, BY_HAND, bodies, {}, **often),
                }
                found = measure(turns)
        finally:
            server.stop(info)
    by_hand = statistics.median(load.per_s for load in found["Ray Serve, written by hand"])
    print(f"cores {os.cpu_count()}, load {os.getloadavg()}")
    print(f"{'':32} {'per s':>8} {'p50 ms':>8} {'p99 ms':>8} {'share':>7}")
    for name, loads in found.items():
        print(told(name, loads, by_hand))
    rates = {name: [round(load.per_s) for load in loads] for name, loads in found.items()}
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
