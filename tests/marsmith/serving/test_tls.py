"""Clients through TLS, with certificates on both sides: ours, curl, Triton's, gRPC."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from examples.digits import held_out
from marsmith.client.asynchronous import AsyncClient
from marsmith.client.clients import Client
from marsmith.errors import ServerError
from marsmith.serving import server
from marsmith.serving.server import Server
from tests.support.certificates import certify
from tests.support.servers import authorization
from tests.support.torchserve_grpc import Stubs

IMAGE, DIGIT = held_out()[0]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the client's certificate and key."""
    folder = tmp_path_factory.mktemp("client")
    certify(folder)
    text = (folder / "cert.pem").read_text() + (folder / "key.pem").read_text()
    (folder / "both.pem").write_text(text)
    return folder


@pytest.fixture(scope="module")
def running(
    digits_archive: Path, theirs: Path, server_state: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with server.serve(
        [digits_archive], port=0, host="0.0.0.0", grpc=True, tls_cert=certify(folder),
        tls_key=folder / "key.pem", client_ca=theirs / "cert.pem",
    ) as started:  # fmt: skip
        yield started


@pytest.fixture
def ca(running: Server) -> Path:
    return running.run_dir / "front" / "tls.pem"


def test_our_clients(running: Server, ca: Path, theirs: Path) -> None:
    arguments = (running.inference_address, None, running.key_file)
    with Client(*arguments, ca=ca, certificate=theirs / "both.pem") as client:
        found = client.predict("digits", IMAGE)
    assert next(iter(found)) == DIGIT

    async def ask() -> Any:
        async with AsyncClient(*arguments, ca=ca, certificate=theirs / "both.pem") as client:
            return await client.predict("digits", IMAGE)

    assert next(iter(asyncio.run(ask()))) == DIGIT
    with Client(*arguments, ca=ca) as client, pytest.raises(ServerError, match="be reached"):
        client.predict("digits", IMAGE)
    with pytest.raises(ServerError, match=r"none\.pem can't be read"):
        Client(*arguments, ca=ca, certificate=theirs / "none.pem")


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl(running: Server, ca: Path, theirs: Path, tmp_path: Path, version: str) -> None:
    (tmp_path / "digit.png").write_bytes(IMAGE)
    command = ["curl", "-sS", "-m", "60", version, "--cacert", str(ca), "-w", "\\n%{http_version}"]
    command += ["-H", f"Authorization: {authorization(running)}", "-T", str(tmp_path / "digit.png")]
    url = f"{running.inference_address}/predictions/digits"
    known = ["--cert", str(theirs / "cert.pem"), "--key", str(theirs / "key.pem")]
    done = subprocess.run([*command, *known, url], capture_output=True, check=True)
    answer, spoken = done.stdout.rsplit(b"\n", 1)
    assert next(iter(json.loads(answer))) == DIGIT
    assert spoken == {"--http1.1": b"1.1", "--http2": b"2"}[version]
    unknown = subprocess.run([*command, url], capture_output=True, check=False)
    assert unknown.returncode != 0
    assert unknown.stdout.rsplit(b"\n", 1)[0] == b""


def test_tritonclient(running: Server, ca: Path, theirs: Path) -> None:
    http = pytest.importorskip("tritonclient.http")

    def context() -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(ca))
        made.load_cert_chain(theirs / "both.pem")
        return made

    address = running.inference_address.removeprefix("https://")
    client = http.InferenceServerClient(address, ssl=True, ssl_context_factory=context)
    headers = {"Authorization": authorization(running)}
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("digits")
        assert client.get_server_metadata()["name"] == "marsmith"
        tensor = http.InferInput("image", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([IMAGE], dtype=object))
        answer = client.infer("digits", [tensor], headers=headers)
        assert answer.as_numpy("labels").ravel()[0] == DIGIT.encode()
    finally:
        client.close()


def test_grpc(running: Server, ca: Path, theirs: Path) -> None:
    credentials = grpc.ssl_channel_credentials(
        ca.read_bytes(), (theirs / "key.pem").read_bytes(), (theirs / "cert.pem").read_bytes()
    )
    metadata = [("protocol", "gRPC"), ("authorization", authorization(running))]
    with grpc.secure_channel(f"127.0.0.1:{running.port}", credentials) as channel:
        stubs = Stubs(channel)
        asked = stubs.PredictionsRequest(model_name="digits", input={"data": IMAGE})
        answer = stubs.Predictions(asked, metadata=metadata, timeout=60)
    assert next(iter(json.loads(answer.prediction))) == DIGIT


def test_who_has_no_certificate_is_told_nothing(running: Server, ca: Path) -> None:
    context = ssl.create_default_context(cafile=str(ca))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{running.inference_address}/ping", verify=context, timeout=60)


@pytest.mark.slow
@pytest.mark.usefixtures("own_state")
def test_a_stop_answers_calls_of_grpc(make_tiny_archive: Callable[..., Path]) -> None:
    with server.serve([make_tiny_archive("tiny", slow=2.0)], port=0, grpc=True) as running:
        metadata = [("protocol", "gRPC"), ("authorization", authorization(running))]
        with grpc.insecure_channel(running.grpc_address) as channel:
            stubs = Stubs(channel)
            asked = stubs.PredictionsRequest(model_name="tiny", input={"data": b"x"})
            calls = [
                stubs.Predictions.future(asked, metadata=metadata, timeout=300) for _ in range(3)
            ]
            assert calls[0].result().prediction  # the others are on their way
            stopping = threading.Thread(target=running.stop)
            stopping.start()
            assert all(call.result().prediction for call in calls)
            stopping.join(300)
