"""Other people's clients, against a real TorchServe: gRPC, the Open Inference Protocol, curl."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from PIL import Image

from examples.digits import held_out
from marsmith.client.asynchronous import AsyncClient
from marsmith.client.clients import Client
from marsmith.errors import RequestError
from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo
from tests.support.answers import same
from tests.support.servers import authorization, pids
from tests.support.torchserve_grpc import Stubs

IMAGE, DIGIT = held_out()[0]
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def usual(digits_server: ServerInfo) -> dict[str, float]:
    """What our own client is answered."""
    with server.client(digits_server) as client:
        answer: dict[str, float] = client.predict("digits", IMAGE)
    assert next(iter(answer)) == DIGIT
    return answer


def test_our_own_clients_explain(digits_server: ServerInfo, usual: dict[str, float]) -> None:
    addresses = digits_server.inference_address, digits_server.management_address
    with Client(*addresses, digits_server.key_file) as client:
        assert len(client.explain("digits", IMAGE)["heat_map"]) == 8
        picture = client.explain("digits", IMAGE, options={"steps": 8}, accept="image/png")
        # What a task can't write is answered in JSON.
        assert same(client.predict("digits", IMAGE, accept="image/png"), usual)

    async def ask() -> Any:
        async with AsyncClient(*addresses, digits_server.key_file) as client:
            options = {"steps": 8}
            return await client.explain("digits", IMAGE, options=options, accept="image/png")

    assert picture == asyncio.run(ask())
    assert Image.open(io.BytesIO(picture)).format == "PNG"


def test_an_image_may_be_whatever_python_has(
    digits_server: ServerInfo, usual: dict[str, float], tmp_path: Path
) -> None:
    file = tmp_path / "digit.png"
    file.write_bytes(IMAGE)
    image = Image.open(file)
    pixels = np.asarray(image)
    with Client.local(digits_server.port) as client:
        for body in (file, image, pixels, torch.from_numpy(pixels.copy())):
            assert same(client.predict("digits", body), usual)
        several = client.predict("digits", {"instances": [file, image, IMAGE]})
        assert all(same(each, usual) for each in several["predictions"])
        with pytest.raises(RequestError) as caught:
            client.predict("digits", str(file))
        assert "pathlib.Path" in caught.value.hint


class TestGrpc:
    """TorchServe's own service; its messages are made from the descriptors in its jar."""

    @pytest.fixture
    def stubs(self, digits_server: ServerInfo) -> Iterator[Stubs]:
        with grpc.insecure_channel(digits_server.grpc_address) as channel:
            yield Stubs(channel)

    def ask(self, info: ServerInfo, stubs: Stubs, call: str, **fields: bytes) -> list[Any]:
        request = stubs.PredictionsRequest(model_name="digits", input=fields)
        metadata = [("authorization", authorization(info))]
        answer = getattr(stubs, call)(request, metadata=metadata, timeout=TIMEOUT_S)
        answers = [answer] if call == "Predictions" else list(answer)
        return [json.loads(each.prediction) for each in answers]

    def test_predictions(
        self, digits_server: ServerInfo, stubs: Stubs, usual: dict[str, float]
    ) -> None:
        (answer,) = self.ask(digits_server, stubs, "Predictions", data=IMAGE)
        assert same(answer, usual)
        (first,) = self.ask(digits_server, stubs, "Predictions", data=IMAGE, top_k=b"1")
        assert list(first) == [DIGIT]
        several = {"instances": [{"b64": base64.b64encode(IMAGE).decode()}] * 2}
        (answer,) = self.ask(digits_server, stubs, "Predictions", data=json.dumps(several).encode())
        assert all(same(each, usual) for each in answer["predictions"])

    def test_a_stream_has_one_part_and_ends_no_worker(
        self, digits_server: ServerInfo, stubs: Stubs, usual: dict[str, float]
    ) -> None:
        before = pids(digits_server)
        for _ in range(3):
            (answer,) = self.ask(digits_server, stubs, "StreamPredictions", data=IMAGE)
            assert same(answer, usual)
        # gRPC tells nothing of a single item's status: a refusal is to be read in the body.
        (refused,) = self.ask(digits_server, stubs, "StreamPredictions", data=b"no image")
        assert set(refused) == {"error", "hint"}
        assert pids(digits_server) == before

    def test_it_asks_for_a_key(self, stubs: Stubs) -> None:
        request = stubs.PredictionsRequest(model_name="digits", input={"data": IMAGE})
        with pytest.raises(grpc.RpcError) as caught:
            stubs.Predictions(request, timeout=TIMEOUT_S)
        assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


class TestOpenInferenceProtocol:
    """Triton's client over HTTP, whose /v2/models/NAME/infer TorchServe serves.

    TorchServe's own gRPC service of the protocol has another name than the protocol's, so no
    client finds it.
    """

    @pytest.fixture
    def infer(self, digits_server: ServerInfo) -> Iterator[Any]:
        http = pytest.importorskip("tritonclient.http")
        client = http.InferenceServerClient(f"127.0.0.1:{digits_server.port}")

        def ask(array: Any, datatype: str, *, binary: bool = True, **rest: Any) -> Any:
            tensor = http.InferInput("image", list(array.shape), datatype)
            tensor.set_data_from_numpy(array, binary_data=binary)
            headers = {"Authorization": authorization(digits_server)}
            return client.infer("digits", [tensor], headers=headers, **rest)

        yield ask
        client.close()

    @pytest.mark.parametrize("binary", [True, False])
    def test_images_in_columns_out(self, infer: Any, usual: dict[str, float], binary: bool) -> None:
        one = IMAGE if binary else base64.b64encode(IMAGE)
        images = np.array([one] * 2, dtype=object)
        options = {"top_k": 3}
        answer = infer(images, "BYTES", binary=binary, request_id="7", parameters=options)
        assert answer.get_response()["id"] == "7"
        labels, scores = answer.as_numpy("labels"), answer.as_numpy("scores")
        assert labels.shape == scores.shape == (2, 3)
        for names, values in zip(labels.tolist(), scores.tolist(), strict=True):
            # The client asks for bytes, and gives strings as it got them.
            assert same(dict(zip(map(bytes.decode, names), values, strict=True)), usual)

    def test_pixels_and_the_models_own_input(self, infer: Any, usual: dict[str, float]) -> None:
        pixels = np.asarray(Image.open(io.BytesIO(IMAGE)))
        normalised = (pixels / 255).astype(np.float32)[None, None]
        for array, datatype in ((pixels[None], "UINT8"), (normalised, "FP32")):
            for binary in (True, False):
                found = infer(array, datatype, binary=binary).as_numpy("labels").tolist()
                assert found == [[label.encode() for label in usual]]

    def test_what_is_refused_says_so(self, infer: Any) -> None:
        from tritonclient.utils import InferenceServerException

        with pytest.raises(InferenceServerException, match="must be"):
            infer(np.zeros((1, 1, 9, 9), np.float32), "FP32")


class TestCurl:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "digit.png"
        path.write_bytes(IMAGE)
        return path

    def curl(self, info: ServerInfo, path: str, *options: str) -> tuple[str, bytes]:
        """The media type and the body of an answer."""
        header = f"Authorization: {authorization(info)}"
        command = ["curl", "-sS", "-m", str(TIMEOUT_S), "-H", header]
        command += ["-w", "%{stderr}%{content_type}", *options, info.inference_address + path]
        done = subprocess.run(command, capture_output=True, check=True)
        return done.stderr.decode(), done.stdout

    def test_predictions(
        self, digits_server: ServerInfo, file: Path, usual: dict[str, float]
    ) -> None:
        media_type, body = self.curl(digits_server, "/predictions/digits", "-T", str(file))
        assert media_type == "application/json"
        assert same(json.loads(body), usual)
        form = ("-F", f"data=@{file}", "-F", "top_k=1")
        assert list(json.loads(self.curl(digits_server, "/predictions/digits", *form)[1])) == [
            DIGIT
        ]

    def test_explanations_as_numbers_and_as_a_picture(
        self, digits_server: ServerInfo, file: Path
    ) -> None:
        path = "/explanations/digits"
        media_type, body = self.curl(digits_server, path, "-T", str(file))
        assert media_type == "application/json"
        explained = json.loads(body)
        assert (explained["label"], len(explained["heat_map"])) == (DIGIT, 8)
        picture = ("-H", "Accept: image/png", "-T", str(file))
        media_type, body = self.curl(digits_server, path, *picture)
        assert media_type == "image/png"
        assert Image.open(io.BytesIO(body)).size == (8, 8)
