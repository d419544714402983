"""Silero VAD's own file, served by its tensors' names: it says what the package's loop says."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from examples.voice_activity import CHUNK, RATE, recordings
from handlers.protocols import binary_tensors
from marsmith.client import bodies
from marsmith.errors import BuildError
from marsmith.harness.wire import Request, Response
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.report.report import Report
from marsmith.serving import server
from marsmith.sources.onnx import OnnxFile
from tests.support.paths import ROOT
from tests.support.servers import authorization

silero = pytest.importorskip("silero_vad", reason="pip install marsmith[examples]")
onnxruntime = pytest.importorskip("onnxruntime")

RECIPE = ROOT / "archiver_configs" / "voice_activity.yaml"
FILE = Path(silero.__file__).parent / "data" / "silero_vad.onnx"
STEPS = 100
Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def served(store: Path) -> Iterator[Harness]:
    build(reading.load(RECIPE), store)
    with Harness(store / "voice_activity.mar", batch_size=8) as harness:
        yield harness


@pytest.fixture(scope="module")
def asked() -> list[Arrays]:
    """Chunks and states of chance, and what the file itself says to each, run by its engine."""
    session, random = onnxruntime.InferenceSession(str(FILE)), np.random.default_rng(1)
    found = []
    for _ in range(5):
        chunk = random.normal(0, 0.3, CHUNK).astype(np.float32)
        state = random.normal(0, 1, (2, 128)).astype(np.float32)
        feed = {"input": np.r_[np.zeros(64, np.float32), chunk][None], "state": state[:, None]}
        output, after = session.run(None, {**feed, "sr": np.array(RATE)})
        found.append({"input": chunk, "state": state, "output": output[0], "stateN": after[:, 0]})
    return found


def check_same(said: Arrays, each: Arrays) -> None:
    for name in ("output", "stateN"):
        assert np.allclose(said[name], each[name], atol=1e-5)


def ask(served: Harness, request: Request) -> Response:
    (response,) = served.predict([request])
    assert response.status == 200, response
    return response


def npz(each: Arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, input=each["input"], state=each["state"])
    return file.getvalue()


def given(each: Arrays) -> dict[str, Any]:
    return {name: each[name].tolist() for name in ("input", "state")}


def test_in_every_protocol_it_says_what_the_file_says(served: Harness, asked: list[Arrays]) -> None:
    for each in asked:
        check_same(ask(served, Request.json({"data": given(each)})).json(), each)
        check_same(ask(served, Request.raw(npz(each), "application/x-npz")).json(), each)
        wish = {"Accept": "application/x-npz"}
        raw = Request.raw(npz(each), "application/x-npz", headers=wish)
        check_same(dict(np.load(io.BytesIO(ask(served, raw).body))), each)
    many = ask(served, Request.json({"instances": [given(each) for each in asked]})).json()
    for said, each in zip(many["predictions"], asked, strict=True):
        check_same(said, each)


@pytest.mark.parametrize("binary", [False, True])
def test_tensors_of_a_batch_come_as_json_or_as_bytes(
    served: Harness, asked: list[Arrays], binary: bool
) -> None:
    whole = {name: np.stack([each[name] for each in asked]) for name in ("input", "state")}
    inputs: list[dict[str, Any]] = [
        {"name": name, "shape": array.shape, "datatype": "FP32"} for name, array in whole.items()
    ]
    body: dict[str, Any] = {"inputs": inputs, "parameters": {"binary_data_output": binary}}
    behind = b""
    for entry, array in zip(inputs, whole.values(), strict=True):
        if binary:
            entry["parameters"] = {"binary_data_size": array.nbytes}
            behind += array.tobytes()
        else:
            entry["data"] = array.ravel().tolist()
    text = json.dumps(body).encode()
    sent = {binary_tensors.HEADER: str(len(text))} if binary else {}
    media_type = "application/octet-stream" if binary else "application/json"
    response = ask(served, Request.raw(text + behind, media_type, headers=sent))
    length = int(response.headers.get(binary_tensors.HEADER, len(response.body)))
    place = length
    for output in json.loads(response.body[:length])["outputs"]:
        if binary:
            size = output["parameters"]["binary_data_size"]
            array = np.frombuffer(response.body[place : place + size], np.float32)
            place += size
        else:
            array = np.array(output["data"], np.float32)
        for found, each in zip(array.reshape(output["shape"]), asked, strict=True):
            assert np.allclose(found, each[output["name"]], atol=1e-5)
    assert place == len(response.body)


def test_a_hundred_steps_of_three_voices_are_as_in_the_packages_loop(served: Harness) -> None:
    voices = [np.resize(each, STEPS * CHUNK) for each in recordings()]
    loops = [silero.load_silero_vad(onnx=True) for _ in voices]
    for step in range(STEPS):
        chunks = [voice[step * CHUNK : (step + 1) * CHUNK] for voice in voices]
        ends = {"sequence_start": step == 0, "sequence_end": step == STEPS - 1}
        responses = served.predict(
            [
                Request.json({"data": chunk.tolist(), "parameters": {"sequence_id": n, **ends}})
                for n, chunk in enumerate(chunks)
            ]
        )
        for loop, chunk, response in zip(loops, chunks, responses, strict=True):
            wanted = float(loop(torch.from_numpy(chunk), RATE))
            assert response.json() == {"output": [pytest.approx(wanted, abs=1e-4)]}


def test_the_users_own_file_is_the_first_rung(served: Harness) -> None:
    ladder = Report.read(served.archive.with_suffix(".report.json")).ladder
    assert [rung.name for rung in ladder][:2] == ["untouched", "original"]
    assert set(ladder[1].outputs) == {"output", "stateN"}
    assert ladder[1].difference.max_abs_error <= 1e-6


@pytest.mark.parametrize(
    ("source", "handler", "why"),
    [
        ({"constants": {"sr": 16000}}, {}, "where the batch must be"),
        ({"constants": {"rate": 16000}}, {}, "has no input 'rate'"),
        ({"constants": {"sr": 16000.5}}, {}, "must be int64"),
        (
            {"constants": {"sr": 16000}, "batch_axes": {"state": 1}},
            {"inputs": {"x": {}}},
            "no input",
        ),
        (
            {"constants": {"sr": 16000}, "batch_axes": {"state": 1, "stateN": 1}},
            {"inputs": {"state": {"shape": [2, 128], "from_output": "state_N"}}},
            "can't be run on",
        ),
        (
            {"constants": {"sr": 16000}, "batch_axes": {"state": 1, "stateN": 1}},
            {
                "inputs": {
                    "input": {"shape": [CHUNK], "context": 64},
                    "state": {"shape": [2, 128], "from_output": "state_N"},
                }
            },
            "did you mean 'stateN'",
        ),
    ],
)
def test_what_does_not_fit_the_file_is_refused(
    source: dict[str, Any], handler: dict[str, Any], why: str, store: Path
) -> None:
    made = {"name": "wrong", "task": "tensors", "source": OnnxFile(onnx=FILE, **source)}
    made |= {"handler": handler, "serving": {"max_workers": 1}}
    with pytest.raises(BuildError, match=why):
        build({**made, "source": {"onnx": str(FILE), **source}}, store)


def test_a_state_is_on_one_worker_alone(store: Path) -> None:
    recipe = reading.load(RECIPE)
    two = recipe.model_copy(
        update={"serving": recipe.serving.model_copy(update={"max_workers": 2})}
    )
    with pytest.raises(BuildError, match="on the worker that has it"):
        build(two, store)


@pytest.fixture(scope="module")
def running(served: Harness, server_state: Path) -> Iterator[server.Server]:
    with server.serve([served.archive], port=0) as info:
        yield info


def steps() -> Iterator[tuple[Any, bool, bool, float]]:
    """Chunks of a voice, whether each is the first or the last, and what the package says."""
    loop, voice = silero.load_silero_vad(onnx=True), np.resize(next(recordings()), STEPS * CHUNK)
    for step, chunk in enumerate(voice.reshape(STEPS, CHUNK)):
        yield chunk, step == 0, step == STEPS - 1, float(loop(torch.from_numpy(chunk), RATE))


@pytest.mark.slow
def test_tritons_client_keeps_a_sequence_through_a_real_server(running: server.Server) -> None:
    http = pytest.importorskip("tritonclient.http")
    address = running.inference_address.removeprefix("http://")
    client = http.InferenceServerClient(address, network_timeout=60)
    try:
        for chunk, first, last, wanted in steps():
            tensor = http.InferInput("input", [1, CHUNK], "FP32")
            tensor.set_data_from_numpy(chunk[None])
            answer = client.infer(
                "voice_activity",
                [tensor],
                sequence_id=42,
                sequence_start=first,
                sequence_end=last,
                headers={"Authorization": authorization(running)},
            )
            assert answer.as_numpy("output").tolist() == [[pytest.approx(wanted, abs=1e-4)]]
    finally:
        client.close()


@pytest.mark.slow
def test_files_are_a_sequence_through_a_real_server(running: server.Server) -> None:
    path = f"{running.inference_address}/predictions/voice_activity"
    key = {"Authorization": authorization(running)}
    with httpx.Client(timeout=60) as http, running.client() as client:
        for step, (chunk, first, last, wanted) in enumerate(steps()):
            if step % 2:  # a client of ours sends a form
                options = {"sequence_id": "a", "sequence_end": last}
                said: Any = client.predict("voice_activity", chunk, options=options)
            else:
                headers = {"X-Sequence-Id": "a", "X-Sequence-Start": str(first)}
                body = bodies.encode(chunk)[0]
                said = http.post(path, content=body, headers={**headers, **key}).json()
            assert said == {"output": [pytest.approx(wanted, abs=1e-4)]}
        ended = http.post(path, content=body, headers={"X-Sequence-Id": "a", **key})
        assert ended.status_code == 409
