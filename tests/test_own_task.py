"""The task of one's own in docs/own-task.md, built and asked as it stands there."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from pages import blocks

RATE = 44_100  # not the model's


def tone(hertz: float) -> bytes:
    times = np.arange(RATE // 2) / RATE
    file = io.BytesIO()
    soundfile.write(file, 0.4 * np.sin(2 * np.pi * hertz * times), RATE, format="FLAC")
    return file.getvalue()


def test_the_task_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ("pitch.py", "pitch_task.py", "pitch.yaml")
    for name, block in zip(files, blocks.named("a task of one's own"), strict=True):
        (tmp_path / name).write_text(block.text)
    monkeypatch.chdir(tmp_path)
    build(tmp_path / "pitch.yaml", tmp_path / "store")
    asked = [Request.raw(tone(440)), Request.raw(b"no sound"), Request.raw(tone(120))]
    with Harness(tmp_path / "store" / "pitch.mar", batch_size=3) as harness:
        high, bad, low = harness.predict(asked)
        options = harness.describe()["options"]["properties"]
    assert high.json()["hertz"] == pytest.approx([440] * len(high.json()["hertz"]), rel=0.03)
    assert low.json()["hertz"] == pytest.approx([120] * len(low.json()["hertz"]), rel=0.03)
    assert bad.status == 415
    assert options["least"]["default"] == 0.5
