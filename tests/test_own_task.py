"""The tasks of one's own in docs/own-task.md, built and asked as they stand there."""

from __future__ import annotations

import io
from collections.abc import Sequence
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


def built(name: str, case: Sequence[blocks.Block], folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """The archive of a case, from its model, its task and its recipe."""
    for file, block in zip((f"{name}.py", f"{name}_task.py", f"{name}.yaml"), case, strict=True):
        (folder / file).write_text(block.text)
    patch.chdir(folder)
    build(folder / f"{name}.yaml", folder / "store")
    return folder / "store" / f"{name}.mar"


def test_the_task_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = built("pitch", blocks.named("a task of one's own"), tmp_path, monkeypatch)
    asked = [Request.raw(tone(440)), Request.raw(b"no sound"), Request.raw(tone(120))]
    with Harness(archive, batch_size=3) as harness:
        high, bad, low = harness.predict(asked)
        options = harness.describe()["options"]["properties"]
    assert high.json()["hertz"] == pytest.approx([440] * len(high.json()["hertz"]), rel=0.03)
    assert low.json()["hertz"] == pytest.approx([120] * len(low.json()["hertz"]), rel=0.03)
    assert bad.status == 415
    assert options["least"]["default"] == 0.5


@pytest.mark.slow
def test_the_task_from_nothing_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = built("melting", blocks.named("a task from nothing"), tmp_path, monkeypatch)
    strands = ["GATTACA" * 3, "gc" * 12, "A" * 40]
    with Harness(archive, batch_size=4) as harness:
        *said, bad = harness.predict([Request.raw(each.encode()) for each in [*strands, "GAUC"]])
    wanted = [64.9 + 41 * (strong - 16.4) / n for strong, n in ((6, 21), (24, 24), (0, 40))]
    assert [each.json()["celsius"] for each in said] == pytest.approx(wanted, abs=0.01)
    assert (bad.status, bad.json()["hint"]) == (422, "send letters alone")
