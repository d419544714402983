"""What is known of one TorchServe, while others ask what it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import psutil
import pytest

from marsmith.serving.host import settings
from marsmith.serving.host.plan import Plan
from marsmith.serving.sides import Side
from marsmith.serving.torchserve.status import ModelStatus, WorkerStatus

WORKER = WorkerStatus(id="9000", pid=os.getpid(), status="READY")


@pytest.fixture
def side(make_tiny_archive: Callable[..., Path], tmp_path: Path) -> Side:
    models = (settings.read("tiny", make_tiny_archive("tiny")),)
    folders = {"run_dir": tmp_path, "temp_dir": tmp_path, "java_home": tmp_path}
    return Side(Plan(**folders, models=models, front=None, ports=None, timeout_s=1, grace_s=1))


def told(side: Side, monkeypatch: pytest.MonkeyPatch, *workers: WorkerStatus) -> None:
    """Let TorchServe say that the model has these workers."""
    model = ModelStatus(
        modelName="tiny", modelVersion="1.0", minWorkers=1, maxWorkers=1, batchSize=1,
        workers=workers,
    )  # fmt: skip
    monkeypatch.setattr(type(side.torchserve), "alive", True)
    monkeypatch.setattr(side.torchserve, "models", lambda: {"tiny": model})


def test_a_model_has_its_workers_while_they_are_counted_again(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(side, monkeypatch, WORKER)
    side.count()
    assert side.ready == {"tiny": 1}
    seen = []

    def exists(_: int) -> bool:
        seen.append(dict(side.ready))  # what another thread reads meanwhile
        return True

    monkeypatch.setattr(psutil, "pid_exists", exists)
    side.count()
    assert seen == [{"tiny": 1}]


def test_a_worker_that_has_gone_is_not_counted(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    told(side, monkeypatch, WORKER)
    monkeypatch.setattr(psutil, "pid_exists", lambda _: False)
    side.count()
    assert side.ready == {"tiny": 0}


def test_an_older_answer_does_not_replace_a_newer_one(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(side, monkeypatch)
    older = side.torchserve.models()
    newer: list[Future[None]] = []

    def answer_late() -> dict[str, ModelStatus]:
        told(side, monkeypatch, WORKER)
        newer.append(pool.submit(side.count))
        wait(newer, timeout=1)  # it may be done by now, or come later
        return older

    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(side.torchserve, "models", answer_late)
        side.count()
    newer[0].result()
    assert side.ready == {"tiny": 1}
