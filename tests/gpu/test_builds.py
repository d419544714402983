"""Whole builds on a GPU: trained there, in every form that runs there, the best shipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from marsmith.pipeline.build import build
from marsmith.recipe import reading
from tests.support import gpu
from tests.support.paths import ROOT

pytestmark = gpu.NEEDED

RECIPES = ROOT / "archiver_configs"


@pytest.mark.parametrize("name", ["digits", "digits_student", "digits_pruned"])
def test_what_is_trained_and_changed_on_a_gpu_is_as_good(name: str, tmp_path: Path) -> None:
    report = build(gpu.on_gpu(reading.load(RECIPES / f"{name}.yaml")), tmp_path)
    assert report is not None
    (score,) = (rung.metric for rung in report.ladder if rung.name == "archived")
    assert score is not None
    assert score > 0.95


def test_every_form_for_gpus_is_tried(tmp_path: Path) -> None:
    recipe = reading.load(RECIPES / "digits.yaml")
    report = build(gpu.on_gpu(recipe, runtime="auto", candidates=()), tmp_path)
    assert report is not None
    found = {(each.runtime, each.precision): each for each in report.candidates}
    for each in found.values():
        print(each.runtime, each.precision, each.status, each.verdict, each.timing)
    for form in (("torchscript", "fp32"), ("eager", "fp16"), ("torchscript", "bf16")):
        assert found[form].status in ("admissible", "shipped"), found[form].verdict
    assert not [each for each in found if each[1].startswith("int8")]


def test_processes_meet_by_the_gpus_own_backend(tmp_path: Path) -> None:
    recipe = (RECIPES / "digits_student.yaml").read_text()
    (tmp_path / "digits_student.yaml").write_text(
        recipe.replace("\nserving:", "\nserving:\n  device: gpu")
        if "\nserving:" in recipe
        else recipe + "\nserving: {device: gpu}\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    command += ["-m", "marsmith.cli", "build", "digits_student.yaml", "--model-store", "store"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "store" / "digits_student.mar").is_file()
