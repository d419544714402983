"""A server that runs, against what `serve` writes."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from marsmith.doctor import servers
from marsmith.serving.host import run_folder
from marsmith.serving.host.plan import PLAN, Plan
from marsmith.serving.host.ports import Ports
from marsmith.serving.host.run_folder import ServerInfo
from tests.support.plans import plan

VERSIONS = {"torchserve": "0.12.0", "netty": "4.1.53"}


def written(made: Plan) -> ServerInfo:
    """Write what a start writes; nothing runs."""
    run_folder.fill(made.run_dir, {}, made.settings())
    (made.run_dir / PLAN).write_text(made.model_dump_json())
    return ServerInfo(
        port=21000, inference_address="http://127.0.0.1:21000", management_address="unix:/no",
        metrics_address="http://127.0.0.1:21000", front=made.front is not None, pid=os.getpid(),
        create_time=psutil.Process().create_time(), grace_s=1.0, temp_dir=made.temp_dir,
        run_dir=made.run_dir, models=made.names,
    )  # fmt: skip


def told(info: ServerInfo) -> list[str]:
    found = servers.of_server(info, VERSIONS)
    return [f"{each.level}: {each.what}" for each in found]


def test_what_serve_writes_is_as_it_should_be(tmp_path: Path) -> None:
    info = written(plan(tmp_path, "tiny"))
    assert "good: its config.properties is what `serve` writes" in told(info)


def test_what_somebody_changed_is_said(tmp_path: Path) -> None:
    info = written(plan(tmp_path, "tiny"))
    file = info.run_dir / "torchserve" / "config.properties"
    file.write_text(file.read_text() + "allowed_urls=.*\nvmargs=-Xmx1g\n")
    said = [line for line in told(info) if "config.properties" in line]
    assert len(said) == 2
    assert said[0].startswith("bad: ")
    assert said[0].endswith("allowed_urls=.*, not (?!)")


def test_both_sides_of_a_rollout_are_looked_at(tmp_path: Path) -> None:
    made = plan(tmp_path, "tiny")
    info = written(made)
    other = made.side("b", made.models)
    run_folder.fill_torchserve(other.run_dir, {}, other.settings())
    assert "good: its config.properties is what `serve` writes" in told(info)
    (other.run_dir / "torchserve" / "config.properties").write_text("")
    assert any("/b/torchserve/config.properties: enable_model_api=, not false" in line
               for line in told(info))  # fmt: skip


def test_a_bare_server_has_the_holes_that_the_front_would_close(tmp_path: Path) -> None:
    ports = Ports(inference=1, management=2, metrics=3, grpc_inference=4, grpc_management=5)
    made = plan(tmp_path, "tiny").model_copy(update={"front": None, "ports": ports})
    said = told(written(made))
    assert any(line.startswith("bad: bare TorchServe") and "CVE-2025-58056" in line
               for line in said)  # fmt: skip
    assert "good: its config.properties is what `serve` writes" in said


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ""),
        ({"keys": False}, "asks for no keys"),
        ({"host": "0.0.0.0"}, "plain HTTP at 0.0.0.0"),
        ({"host": "0.0.0.0", "tls_cert": "a.pem"}, ""),
        ({"grpc_port": 7070}, "gRPC is on"),
    ],
)
def test_what_a_front_leaves_open_is_said(
    tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    front = plan(tmp_path, "tiny", **settings).front
    assert front
    said = [what for _, what, _ in servers.of_front(front)]
    assert len(said) == bool(words)
    assert all(words in what for what in said)


def test_who_runs_no_server_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARSMITH_STATE", str(tmp_path))
    (only,) = servers.check(VERSIONS)
    assert only.level == "good"
