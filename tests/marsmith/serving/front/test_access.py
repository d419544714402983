"""The access log: kept whole, and counted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from marsmith.serving.front import access
from marsmith.serving.front.access import AccessLog
from tests.support.waiting import wait_until


def line(**said: object) -> str:
    usual = {"model": "tiny", "version": "1.0", "side": "a", "route": "predict", "status": 200}
    usual |= {"refused": "-", "end": "--", "waited_ms": 3, "microseconds": "700"}
    return json.dumps(usual | said) + "\n"


def written(log: AccessLog, *lines: str) -> None:
    descriptor = log.follow()
    with os.fdopen(descriptor, "w") as pipe:
        pipe.write("".join(lines))


def test_what_is_answered_and_refused_is_counted(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    log = AccessLog(tmp_path / "access.log", registry)
    said = [
        line(),
        line(microseconds="2500000", status=500),
        line(refused="queue", status=503, waited_ms=-1),
        line(refused="key", status=401, version="-", model="anything at all"),
        line(route="metrics", model="-", version="-"),
        line(route="-", model="-", version="-", status=400, microseconds="-"),
        "[NOTICE] HAProxy's own words\n",
    ]
    written(log, *said)
    file = tmp_path / "access.log"
    wait_until(lambda: file.exists() and file.read_text() == "".join(said))
    wait_until(lambda: log.completed() == {"tiny": 1})  # a 500 is no answer of the model's

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    tiny = {"model": "tiny", "version": "1.0"}
    assert value("marsmith_requests_total", **tiny, status="200") == 1
    assert value("marsmith_requests_total", **tiny, status="503") == 1
    assert value("marsmith_refusals_total", model="tiny", reason="queue") == 1
    # Names that clients make up are no labels.
    assert value("marsmith_refusals_total", model="", reason="key") == 1
    assert value("marsmith_refusals_total", model="", reason="http") == 1
    seconds = "marsmith_request_duration_seconds"
    assert value(f"{seconds}_count", **tiny, route="predict") == 2
    assert value(f"{seconds}_bucket", **tiny, route="predict", le="0.001") == 1


def test_the_log_is_rotated_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MAX_BYTES", 4000)
    monkeypatch.setattr(access, "PIPE_BYTES", 700)
    log = AccessLog(tmp_path / "access.log", CollectorRegistry())
    said = [line(microseconds=str(number)) for number in range(70)]
    written(log, *said)
    wait_until(lambda: log.completed()["tiny"] == 70)
    files = [tmp_path / name for name in ("access.log.2", "access.log.1", "access.log")]
    wait_until(lambda: "".join(f.read_text() for f in files if f.exists()) == "".join(said))
    assert all(file.stat().st_size <= 4000 for file in files if file.exists())


def test_answers_are_kept_while_they_are_recorded(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.log", CollectorRegistry())
    written(log, line())
    wait_until(lambda: log.completed()["tiny"] == 1)
    assert log.answered("tiny", 0.0) == {}
    with log.recording():
        written(log, line(side="b", status=500), line(), line(model="other"))
        wait_until(lambda: log.completed()["other"] == 1)
        found = log.answered("tiny", 0.0)
        assert {side: [each.status for each in said] for side, said in found.items()} == {
            "a": [200], "b": [500],
        }  # fmt: skip
        assert log.answered("tiny", found["a"][0].at + 1) == {}
    assert log.answered("tiny", 0.0) == {}
