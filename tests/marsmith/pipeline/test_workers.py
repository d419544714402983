"""Which answers more: one worker of all cores, or one for each of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import cpu
from marsmith.archive.reading import inspect
from marsmith.pipeline import workers
from marsmith.pipeline.build import build
from marsmith.recipe.sections import Serving
from marsmith.report import measurements
from marsmith.serving.host import settings
from marsmith.verify.evaluation import Data
from tests.support import vision_folders

WAITS = """
import time

class Waits:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        time.sleep(0.05)
        return [b"{}"] * len(data)
"""
TAKES_TURNS = """
import fcntl, time

class TakesTurns:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        with open("LOCKED", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            time.sleep(0.05)
        return [b"{}"] * len(data)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("code", "share"), [(WAITS, True), (TAKES_TURNS, False)])
def test_workers_share_the_cores_where_they_answer_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, share: bool
) -> None:
    """What only waits answers twice as much in two workers; what takes turns doesn't."""
    archive = tmp_path / "m"
    (archive / "MAR-INF").mkdir(parents=True)
    model = {"modelName": "m", "modelVersion": "1.0", "handler": "own.py"}
    (archive / "MAR-INF/MANIFEST.json").write_text(json.dumps({"model": model}))
    (archive / "own.py").write_text(code.replace("LOCKED", str(tmp_path / "lock")))
    monkeypatch.setattr(cpu, "cores", lambda: 2)
    said: list[str] = []
    found = workers.compare(archive, Data([b"{}"], "", None), Serving(max_workers=2), said.append)
    assert found is not None
    assert found.per_core == share
    assert said[0].endswith("one for each core" if share else "one worker")


@pytest.mark.slow
@pytest.mark.parametrize(("gain", "expected"), [(0.0, 2), (1e9, None)])
def test_a_build_that_may_choose_decides_on_workers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gain: float, expected: int | None
) -> None:
    monkeypatch.setattr(cpu, "cores", lambda: 2)
    monkeypatch.setattr(measurements, "GAIN", gain)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    report = build(
        module,
        tmp_path,
        name="little",
        task="image_classification",
        handler={"resize": [2, 2]},
        runtime="auto",
        candidates=["torchscript", "onnx"],
    )
    assert report is not None
    assert report.workers is not None
    assert report.workers.count == 2
    assert settings.read("little", tmp_path / "little.mar").workers == expected


@pytest.mark.slow
def test_what_a_folder_brings_stays_where_each_core_has_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "cores", lambda: 2)
    monkeypatch.setattr(workers, "GAIN", 0.0)
    folder = vision_folders.save(tmp_path / "model", "vit")
    recipe: dict[str, object] = {
        "name": "vit", "task": "image_classification", "source": {"huggingface": str(folder)},
        "runtime": "auto", "candidates": ["torchscript:fp32", "torchscript:bf16"],
    }  # fmt: skip
    assert build(recipe, tmp_path) is not None
    assert settings.read("vit", tmp_path / "vit.mar").workers == 2
    handler = inspect(tmp_path / "vit.mar")["config"]["handler"]
    assert (handler["resize"], handler["labels"]) == ([32, 32], "labels.json")


@pytest.mark.parametrize(
    ("said", "cores"),
    [({"min_workers": 1}, 2), ({"worker_per_core": True}, 2), ({"max_workers": 1}, 2), ({}, 1)],
)
def test_where_there_is_no_choice_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], cores: int
) -> None:
    monkeypatch.setattr(cpu, "cores", lambda: cores)
    here, data = Path(__file__), Data([b"{}"], "", None)
    assert workers.compare(here, data, Serving(**said), print) is None
