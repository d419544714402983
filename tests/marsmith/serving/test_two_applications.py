"""Another version on a server on Ray: promoted, rolled back, called off; no prediction is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from marsmith.archive import signing
from marsmith.errors import ServerError
from marsmith.serving import control, server
from marsmith.serving.host.processes import family
from marsmith.serving.rollout import Step
from marsmith.serving.server import Server
from tests.support.asking import asking_on
from tests.support.servers import authorization
from tests.support.signing_keys import write_keys
from tests.support.waiting import wait_until

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

MakeArchive = Callable[..., Path]
WORKER = "model_service_worker"


@pytest.fixture(scope="module", params=[["tiny"], ["tiny", "other"]], ids="-".join)
def running(
    request: pytest.FixtureRequest, make_tiny_archive: MakeArchive, server_state: Path
) -> Iterator[Server]:
    archives = [make_tiny_archive(name) for name in request.param]
    with server.serve(archives, on="ray", port=0, timeout_s=600) as started:
        yield started


@pytest.fixture
def asking(running: Server) -> Iterator[list[str]]:
    """What four clients heard: a status, and who answered."""
    with asking_on(running) as answers:
        yield answers


def serving(info: Server) -> str | None:
    return server.versions(info)["tiny"]["serving"]


def assert_all_hear(asking: list[str], version: str | None) -> None:
    seen = len(asking)
    wait_until(lambda: len(asking) > seen + 20)
    assert set(asking[seen + 8 :]) == {f"200 {version}"}
    assert {each for each in asking if not each.startswith("200")} == set()


def assert_one_version_is_left(info: Server) -> None:
    """Fail if a version is served, or kept, that nobody needs."""

    def workers() -> int:
        return sum(WORKER in " ".join(each.cmdline()) for each in family(info.temp_dir))

    wait_until(lambda: workers() == len(info.models))
    known = server.versions(info)["tiny"]
    kept = len(list((info.run_dir / "ray").glob("*/tiny.mar")))
    assert kept == 1 + (known["before"] is not None)


def test_a_version_is_promoted_and_rolled_back(
    running: Server, asking: list[str], make_tiny_archive: MakeArchive
) -> None:
    steps: list[Step] = []
    archive = make_tiny_archive("tiny", version="2.0")
    running.rollout(
        "tiny", archive, steps.append, shadow=0.5, canary=(50, 100), hold_s=2.0,
        max_p99_ratio=100, max_disagreement=1,
    )  # fmt: skip
    phases = ["start", "shadow", "canary", "promoted", "ended"]
    assert list(dict.fromkeys(step.phase for step in steps)) == phases
    shadowed = next(step for step in steps if step.phase == "shadow")
    assert (shadowed.compared > 0, shadowed.disagreement, shadowed.answers) == (True, 1.0, 0)
    assert next(step for step in steps if step.share == 50).answers > 0
    known = server.versions(running)["tiny"]
    assert (known["serving"], known["before"]) == ("2.0", "1.0")
    assert_all_hear(asking, "2.0")
    assert {model.version for model in running.status().models if model.name == "tiny"} == {"2.0"}
    assert_one_version_is_left(running)
    server.rollback(running, "tiny")
    assert serving(running) == "1.0"
    assert_all_hear(asking, "1.0")
    assert_one_version_is_left(running)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"slow": 0.5}, r"its 99th percentile is"),
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
    asks = {"shadow": 0, **{key: value for key, value in fault.items() if key == "shadow"}}
    archive = make_tiny_archive(
        "tiny", version="3.0", **{key: value for key, value in fault.items() if key != "shadow"}
    )
    with pytest.raises(ServerError, match=words):
        running.rollout("tiny", archive, canary=(30, 100), hold_s=120.0, max_p99_ratio=3, **asks)
    if asks["shadow"]:
        assert "200 3.0" not in asking
    assert server.versions(running)["tiny"] == known
    assert_all_hear(asking, known["serving"])
    assert_one_version_is_left(running)


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
        bounds: dict[str, Any] = {"shadow": 0, "canary": (40, 100), "max_p99_ratio": 1000}
        rollout = pool.submit(running.rollout, "tiny", archive, hold_s=600.0, **bounds)

        def version(path: str = "/predictions/tiny", **more: str) -> object:
            answer = http.post(path, json={}, headers=more)
            return answer.json()["version"] if answer.status_code == 200 else answer.status_code

        wait_until(lambda: version("/predictions/tiny/6.0") == "6.0")
        wait_until(lambda: "6.0" in {version() for _ in range(8)})
        for named in (old, "6.0"):
            assert {version(f"/predictions/tiny/{named}") for _ in range(8)} == {named}
        for header in ("X-Session", "X-Sequence-Id"):
            sessions = [[version(**{header: str(each)}) for _ in range(3)] for each in range(20)]
            assert all(len(set(seen)) == 1 for seen in sessions)
            assert {seen[0] for seen in sessions} == {old, "6.0"}
        with pytest.raises(ServerError, match="another version is being rolled out"):
            running.rollout("tiny", archive)
        list(control.ask(running.temp_dir, 300, call_off=True))
        with pytest.raises(ServerError, match="it was called off"):
            rollout.result(300)
        assert version("/predictions/tiny/6.0") == 404
    assert serving(running) == old
    assert_one_version_is_left(running)


def test_a_server_that_asks_for_signatures_asks_in_a_rollout_too(
    make_tiny_archive: MakeArchive, server_state: Path, tmp_path: Path
) -> None:
    pytest.importorskip("model_signing")
    key, public = write_keys(tmp_path, "shop")
    first, second = (make_tiny_archive("tiny", version=version) for version in ("1.0", "2.0"))
    signing.sign(first, key)
    at_once: dict[str, Any] = {"canary": (100,), "hold_s": 0.0, "shadow": 0.0}
    with server.serve([first], on="ray", port=0, trust=[public], timeout_s=600) as started:
        with pytest.raises(ServerError, match="is not signed"):
            started.rollout("tiny", second, **at_once)
        signing.sign(second, key)
        started.rollout("tiny", second, **at_once)
        assert serving(started) == "2.0"
        signing.bundle_of(first).unlink()
        server.rollback(started, "tiny")  # its signature was kept with it
        assert serving(started) == "1.0"
