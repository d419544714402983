"""What HAProxy starts from: HAProxy itself takes it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from handlers.protocols import binary_tensors, forms
from marsmith.errors import ServerError
from marsmith.serving.front import configuration
from marsmith.serving.front.keys import Key
from marsmith.serving.host.plan import Plan
from tests.support.plans import plan


def written(planned: Plan) -> str:
    assert planned.front is not None
    metadata: Any = {name: {"name": name} for name in planned.names}
    file = configuration.write(planned, planned.front, 2, metadata)
    configuration.check(planned.front.program, file)
    command = [str(planned.front.program), "-c", "-f", file.name]
    said = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=True)
    assert "WARNING" not in said.stderr, said.stderr
    return file.read_text()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate and its key, in one file."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    return tmp_path / "cert.pem"


def test_haproxy_takes_it_whatever_the_models_and_the_folder_are_called(tmp_path: Path) -> None:
    text = written(plan(tmp_path, "tiny", "a.b-c_d"))
    for line in (
        "bind 127.0.0.1:21000",
        "backend model_a.b-c_d",
        "server a unix@/tmp/marsmith-planned/inference weight 100 maxconn 2",
        "timeout queue 1500ms",
        "nbthread 2",
    ):
        assert line in text
    assert str(tmp_path) not in text  # paths may hold anything; all but sockets are relative
    assert forms.HEADER in text.lower()


def test_json_has_a_bound_of_its_own_where_that_is_the_lower(tmp_path: Path) -> None:
    planned = plan(tmp_path, "tiny")
    (model,) = planned.models
    for most, there in ((None, False), (999, True), (1000, False)):
        models = (model.model_copy(update={"max_json_bytes": most}),)
        text = written(planned.model_copy(update={"models": models}))
        assert ("max_json_bytes" in text) is there
    assert configuration.BINARY_HEADER == binary_tensors.HEADER


def test_without_keys_none_is_asked_for(tmp_path: Path) -> None:
    assert "keys.map" not in written(plan(tmp_path, "tiny", keys=False))


def test_tls_and_client_certificates(tmp_path: Path, certificate: Path) -> None:
    planned = plan(
        tmp_path, "tiny", host="::", tls_cert=certificate, tls_key=certificate.with_name("key.pem"),
        client_ca=certificate,
    )  # fmt: skip
    assert planned.front is not None
    folder = planned.run_dir / "front"
    (folder / "tls.pem").write_text(configuration.read_certificate(planned.front))
    (folder / "client-ca.pem").write_text(certificate.read_text())
    assert (
        "bind [::]:21000 ssl crt tls.pem alpn h2,http/1.1 ca-file client-ca.pem verify required"
        in written(planned)
    )
    assert planned.front.address == "https://[::1]:21000"


def test_what_haproxy_refuses_is_said(tmp_path: Path) -> None:
    planned = plan(tmp_path, "tiny", tls_cert=tmp_path / "none.pem")
    assert planned.front is not None
    with pytest.raises(ServerError, match=r"certificate can't be read.*none\.pem"):
        configuration.read_certificate(planned.front)
    with pytest.raises(ServerError, match=r"(?s)HAProxy refuses its configuration:.*tls\.pem"):
        written(planned)


def test_keys_become_maps() -> None:
    key = Key(name="one", sha256="ab", scopes=("predict", "metrics"), rate=3, added=0.0)
    other = Key(name="two", sha256="cd", scopes=("explain",), added=0.0)
    assert configuration.key_maps([key, other]) == {
        "keys": {"AB": "one", "CD": "two"},
        "scopes": {"one": "predict,metrics", "two": "explain"},
        "rates": {"one": "3"},
    }


def test_the_front_and_the_handlers_know_the_same_routes_of_openai() -> None:
    from handlers.protocols import openai

    assert [f"v1/{path}" for path in configuration.OF_OPENAI.split("|")] == sorted(openai.paths())
    assert configuration.OPENAI_HEADER == openai.HEADER
