"""Every task builds, verifies and answers on a GPU."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from marsmith.cli import new
from marsmith.client.comparison import difference
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from tests.support import gpu

pytestmark = gpu.NEEDED


def answered(archive: Path) -> tuple[str, object]:
    """The device of a worker, and its answer to the archive's own example."""
    with Harness(archive) as harness:
        described = harness.describe()
        example = described["example"]
        body = base64.b64decode(example["body_base64"])
        (answer,) = harness.predict([Request.raw(body, example["content_type"])])
        assert answer.status == 200, answer.body
        json = "json" in answer.content_type
        return described["device"], answer.json() if json else len(answer.body)


@pytest.mark.parametrize("task", new.tasks())
def test_what_new_writes_answers_on_a_gpu_as_on_a_cpu(
    task: str, tmp_path: Path, make_new_archive: Callable[[str], Path]
) -> None:
    on_cpu = make_new_archive(task)
    recipe, *_ = new.write(f"gpu_{task}", task, tmp_path)
    build(gpu.on_gpu(reading.load(recipe)), tmp_path / "store")
    device, there = answered(tmp_path / "store" / f"gpu_{task}.mar")
    assert device == "cuda:0"
    device, here = answered(on_cpu)
    assert device == "cpu"
    assert difference([there], [here]) < 1e-3
