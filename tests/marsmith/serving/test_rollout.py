"""Another version beside the old: promoted, rolled back, called off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from marsmith.archive import signing
from marsmith.errors import ArchiveError, ServerError
from marsmith.serving import control, server
from marsmith.serving.host.processes import family
from marsmith.serving.rollout import Step
from marsmith.serving.server import Server
from tests.support.asking import asking_on
from tests.support.paths import ROOT
from tests.support.servers import authorization
from tests.support.signing_keys import write_keys
from tests.support.waiting import wait_until

MakeArchive = Callable[..., Path]


@pytest.fixture(scope="module")
def running(make_tiny_archive: MakeArchive, server_state: Path) -> Iterator[Server]:
    with server.serve([make_tiny_archive("tiny"), make_tiny_archive("other")], port=0) as started:
        yield started


@pytest.fixture
def asking(running: Server) -> Iterator[list[str]]:
    """What four clients heard: a status, and who answered."""
    with asking_on(running) as answers:
        yield answers


def javas(info: Server) -> int:
    """How many TorchServes there are."""
    names = []
    for process in family(info.temp_dir):
        with suppress(psutil.NoSuchProcess):
            names.append(process.name())
    return names.count("java")


def serving(info: Server) -> str | None:
    return server.versions(info)["tiny"]["serving"]


def test_a_version_is_promoted_and_rolled_back(
    running: Server, asking: list[str], make_tiny_archive: MakeArchive
) -> None:
    steps: list[Step] = []
    before = serving(running)
    archive = make_tiny_archive("tiny", version="2.0")
    running.rollout(
        "tiny", archive, steps.append, shadow=0.5, canary=(50, 100), hold_s=1.0,
        max_p99_ratio=100, max_disagreement=1,
    )  # fmt: skip
    phases = ["start", "shadow", "canary", "promoted", "ended"]
    assert list(dict.fromkeys(step.phase for step in steps)) == phases
    assert [step.share for step in steps if step.phase == "canary"] == [50, 100]
    shadowed = next(step for step in steps if step.phase == "shadow")
    assert shadowed.compared > 0
    assert shadowed.disagreement == 1.0  # each says its version
    assert shadowed.answers == 0
    assert next(step for step in steps if step.share == 50).answers > 0
    known = server.versions(running)["tiny"]
    assert (known["serving"], known["before"]) == ("2.0", before)
    assert server.versions(running)["other"]["before"] is None
    metadata = f"{running.inference_address}/v2/models/tiny"
    assert httpx.get(metadata, timeout=60).json()["versions"] == ["2.0"]
    assert httpx.get(f"{metadata}/versions/2.0/ready", timeout=60).status_code == 200
    seen = len(asking)
    wait_until(lambda: len(asking) > seen + 20)
    assert set(asking[seen + 8 :]) == {"200 2.0"}
    assert running.status().ready
    assert {model.name: model.version for model in running.status().models} == {
        "tiny": "2.0",
        "other": "1.0",
    }
    with running.client() as client:
        assert client.predict("other", {})["version"] == "1.0"
    assert javas(running) == 1
    server.rollback(running, "tiny")
    assert serving(running) == before
    seen = len(asking)
    wait_until(lambda: len(asking) > seen + 20)
    assert set(asking[seen + 8 :]) == {f"200 {before}"}
    assert {each for each in asking if not each.startswith("200")} == set()


@pytest.mark.slow
def test_workers_that_were_scaled_stay_as_many(
    running: Server, make_tiny_archive: MakeArchive
) -> None:
    def workers() -> dict[str, int]:
        models = running.status().models
        return {each.name: sum(worker.ready for worker in each.workers) for each in models}

    began = workers()
    server.scale(running, "tiny", 2)
    server.scale(running, "other", 3)
    try:
        wait_until(lambda: workers() == {"tiny": 2, "other": 3})
        archive = make_tiny_archive("tiny", version="2.5")
        running.rollout("tiny", archive, shadow=0, canary=(100,), hold_s=1.0, max_p99_ratio=100)
        assert workers() == {"tiny": 2, "other": 3}
        server.rollback(running, "tiny")
        assert workers() == {"tiny": 2, "other": 3}
    finally:
        for name, count in began.items():
            server.scale(running, name, count)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"slow": 0.2}, r"its 99th percentile is"),
        ({"error": True}, r"of its \d+ answers were errors"),
        ({"fail": "runtime"}, "weights.bin is not there"),
        ({"shadow": 0.5}, r"answers differ from the old version's \(the first: .*\); at most 5.0%"),
    ],
    ids=["slow", "fails", "never loads", "answers otherwise"],
)
def test_a_version_that_misses_a_bound_is_rolled_back(
    running: Server,
    asking: list[str],
    make_tiny_archive: MakeArchive,
    fault: dict[str, Any],
    words: str,
) -> None:
    known = server.versions(running)["tiny"]
    shadow = fault.pop("shadow", 0)
    archive = make_tiny_archive("tiny", version="3.0", **fault)
    with pytest.raises(ServerError, match=words) as caught:
        running.rollout(
            "tiny", archive, shadow=shadow, canary=(30, 100), hold_s=60.0, max_p99_ratio=3
        )
    if shadow:
        assert "200 3.0" not in asking
    if "fail" not in fault:
        assert "was rolled back" in caught.value.message
        assert "serves all requests" in caught.value.hint
    # A version that is refused is none to go back to.
    assert server.versions(running)["tiny"] == known
    assert javas(running) == 1
    seen = len(asking)
    wait_until(lambda: len(asking) > seen + 20)
    assert set(asking[seen + 8 :]) == {f"200 {known['serving']}"}


@pytest.mark.slow
def test_a_rollout_that_is_stopped_is_called_off(
    running: Server, make_tiny_archive: MakeArchive
) -> None:
    before = serving(running)
    archive = make_tiny_archive("tiny", version="4.0")
    command = [sys.executable, "-m", "marsmith.cli", "rollout", "tiny", str(archive)]
    command += [
        "--shadow",
        "0",
        "--canary",
        "10,100",
        "--hold-s",
        "600",
        "--port",
        str(running.port),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "2 of 2" in line or ("1 of 1" in line and "tiny" in line):
                break
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        rest, told = process.communicate(timeout=300)
    assert process.returncode != 0
    last = json.loads(rest.splitlines()[-1])
    assert (last["phase"], last["error"]) == ("failed", "it was called off")
    assert "Traceback" not in told
    wait_until(lambda: javas(running) == 1)
    assert serving(running) == before


@pytest.mark.slow
def test_a_rollout_whose_command_is_killed_comes_to_its_end(
    running: Server, make_tiny_archive: MakeArchive
) -> None:
    archive = make_tiny_archive("tiny", version="5.0")
    command = [sys.executable, "-m", "marsmith.cli", "rollout", "tiny", str(archive)]
    command += ["--shadow", "0", "--canary", "100", "--hold-s", "3", "--port", str(running.port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("starts beside" in line for line in process.stdout)
        process.kill()
    wait_until(lambda: serving(running) == "5.0")
    wait_until(lambda: javas(running) == 1)
    list(control.ask(running.temp_dir, 300, call_off=True))  # returns when none goes on
    assert serving(running) == "5.0"
    assert running.status().ready


@pytest.mark.slow
def test_a_request_may_name_its_version_and_a_session_stays_with_one(
    running: Server, make_tiny_archive: MakeArchive
) -> None:
    old = serving(running)
    archive = make_tiny_archive("tiny", version="6.0")
    headers = {"Authorization": authorization(running)}
    with (
        ThreadPoolExecutor(1) as pool,
        httpx.Client(base_url=running.inference_address, headers=headers, timeout=120) as http,
    ):
        bounds: dict[str, Any] = {
            "shadow": 0,
            "canary": (40, 100),
            "hold_s": 15.0,
            "max_p99_ratio": 1000,
        }
        rollout = pool.submit(running.rollout, "tiny", archive, **bounds)

        def version(path: str = "/predictions/tiny", **more: str) -> object:
            answer = http.post(path, json={}, headers=more)
            return answer.json()["version"] if answer.status_code == 200 else answer.status_code

        assert version(f"/predictions/tiny/{old}") == old
        wait_until(lambda: version("/predictions/tiny/6.0") == "6.0")
        for named in (old, "6.0"):
            assert {version(f"/predictions/tiny/{named}") for _ in range(8)} == {named}
        for header in ("X-Session", "X-Sequence-Id"):
            sessions = [[version(**{header: str(each)}) for _ in range(3)] for each in range(20)]
            assert all(len(set(seen)) == 1 for seen in sessions)
            assert {seen[0] for seen in sessions} == {old, "6.0"}
        rollout.result(300)
        refused = http.post(f"/predictions/tiny/{old}", json={})
        assert refused.status_code == 404
        assert refused.json() == {
            "error": f'there is no version {old} of the model tiny', "hint": "there is: 6.0"
        }  # fmt: skip
        assert version("/predictions/tiny/6.0") == "6.0"


def test_what_can_not_be_rolled_out_is_refused(
    running: Server, make_tiny_archive: MakeArchive
) -> None:
    archive = make_tiny_archive("tiny")
    with pytest.raises(ServerError, match="holds the model 'tiny', not 'other'"):
        running.rollout("other", archive)
    with pytest.raises(ServerError, match="no model 'none'; there are: tiny, other"):
        running.rollout("none", make_tiny_archive("none"))
    other = make_tiny_archive("tiny", version="2.0", response_timeout_s=7)
    with pytest.raises(ServerError, match="response_timeout_s"):  # the front was told another
        running.rollout("tiny", other)
    for canary in ((), (5,), (0, 100), (50, 5, 100)):
        with pytest.raises(ServerError, match="percentages must grow"):
            running.rollout("tiny", archive, canary=canary)
    told = subprocess.run(
        [sys.executable, "-m", "marsmith.cli", "versions", "--json", "--port", str(running.port)],
        cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert set(json.loads(told.stdout)) == {"tiny", "other"}
    refused = subprocess.run(
        [sys.executable, "-m", "marsmith.cli", "rollout", "none", archive, "--port",
         str(running.port)],
        cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    (line,) = map(json.loads, refused.stdout.splitlines())
    assert line["phase"] == "failed"
    assert "holds the model 'tiny'" in line["error"]


@pytest.mark.slow
def test_a_server_that_asks_for_signatures_asks_in_a_rollout_too(
    make_tiny_archive: MakeArchive, server_state: Path, tmp_path: Path
) -> None:
    pytest.importorskip("model_signing")
    key, public = write_keys(tmp_path, "shop")
    first, second = (make_tiny_archive("tiny", version=version) for version in ("1.0", "2.0"))
    with pytest.raises(ArchiveError, match="is not signed"):
        server.serve([first], port=0, trust=[public])
    signing.sign(first, key)
    with server.serve([first], port=0, trust=[public]) as started:
        with pytest.raises(ServerError, match="is not signed"):
            started.rollout("tiny", second, canary=(100,), hold_s=0.0, shadow=0.0)
        assert serving(started) == "1.0"
        signing.sign(second, key)
        pinned = Path(f"{second}@sha256:{'0' * 64}")
        with pytest.raises(ServerError, match="its SHA-256 is"):
            started.rollout("tiny", pinned, canary=(100,), hold_s=0.0, shadow=0.0)
        started.rollout("tiny", second, canary=(100,), hold_s=0.0, shadow=0.0)
        assert serving(started) == "2.0"
        signing.bundle_of(first).unlink()
        server.rollback(started, "tiny")  # it was asked for when it came
        assert serving(started) == "1.0"
