"""`marsmith bench`, on a real server and on one that is none of ours."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from marsmith.serving.host.run_folder import ServerInfo
from tests.support.command import marsmith
from tests.support.http_servers import answering
from tests.support.paths import ROOT


def test_a_model_of_ours(digits_server: ServerInfo, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = marsmith(
        "bench", "digits", "--recipe", "archiver_configs/digits.yaml", "--connections", "2",
        "--seconds", "0.5", "--repeats", "2", "--out", page, "--port", digits_server.port, "--json",
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["bodies"] == "360 bodies: the held-out data of digits"
    assert [run["errors"] for run in found["runs"]] == [{}, {}]
    assert {"haproxy", "java", "worker", "this load"} <= {cost["name"] for cost in found["costs"]}
    html = page.read_text()
    assert html.count("<svg") == 2
    assert "answers/s</h1>" in html


def test_its_own_example_where_no_body_is_named(digits_server: ServerInfo) -> None:
    said = marsmith(
        "bench", "digits", "--seconds", "0.5", "--repeats", "1", "--port", digits_server.port
    ).stdout
    assert "the model's own example" in said
    assert "p99 ms" in said


def test_any_address(tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text("{}")
    with answering(lambda body: (200, b'{"usage": {"completion_tokens": 5}}')) as url:
        options = ("--body", body, "--seconds", "0.5", "--repeats", "1", "--json")
        (run,) = json.loads(marsmith("bench", url, *options).stdout)["runs"]
        assert run["tokens_per_s"] == pytest.approx(5 * run["per_s"])
        refused = marsmith("bench", url, check=False)
        ignored = marsmith("bench", url, "--body", body, "--stream", check=False)
    assert "are for a model of a server" in ignored.stderr
    assert "an address needs bodies" in refused.stderr


@pytest.mark.slow
def test_a_generator_that_was_stopped_meanwhile_is_refused(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"x")
    with answering(lambda body: (200, b"")) as url:
        command = (sys.executable, "-m", "marsmith.cli", "bench", url, "--body", str(body))
        load = subprocess.Popen(
            [*command, "--rate", "50", "--seconds", "8", "--repeats", "1"],
            cwd=ROOT, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert load.stderr is not None
        load.stderr.readline()  # the run begins
        time.sleep(4)
        load.send_signal(signal.SIGSTOP)
        time.sleep(2)
        load.send_signal(signal.SIGCONT)
        _, said = load.communicate(timeout=120)
    assert load.returncode == 1
    assert "the load's generator lagged" in said
