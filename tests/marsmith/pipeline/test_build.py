from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from examples.digits import DigitsNet, held_out
from marsmith.archive.reading import inspect
from marsmith.cli import new
from marsmith.errors import ArchiveError, BuildError, GateError
from marsmith.pipeline.build import build, publish
from marsmith.pipeline.candidates import only
from marsmith.pipeline.trials import Trial
from marsmith.recipe.candidate import Candidate
from marsmith.recipe.sections import Accept, Recipe
from marsmith.report.measurements import Difference, Rung
from marsmith.report.report import Report
from marsmith.serving import server
from marsmith.serving.host import intake
from tests.support.paths import ROOT


class Noisy(torch.nn.Module):
    """Says something else each time: nothing can agree with it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = DigitsNet()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(image)
        return logits + torch.rand_like(logits)


class Unscriptable(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.stack([each.sum(dim=(1, 2)) for each in sorted([image], key=id)])[0]


def no_module() -> int:
    return 3


def pairs_of_text() -> list[tuple[str, str]]:
    return [("text", "label")]


def broken_images() -> list[tuple[bytes, str]]:
    return [(b"no image", "0")]


def few() -> list[tuple[bytes, str]]:
    return held_out()[:4]


def changed(recipe: Recipe, **source: object) -> Recipe:
    return recipe.model_copy(update={"source": recipe.source.model_copy(update=source)})


def test_the_report_says_what_was_verified(digits_archive: Path) -> None:
    report = Report.read(digits_archive.with_name("digits.report.json"))
    original, converted, archived = report.ladder
    assert [rung.name for rung in report.ladder] == ["original", "torchscript:fp32", "archived"]
    assert all(rung.metric is not None and rung.metric >= 0.98 for rung in report.ladder)
    assert converted.difference.max_abs_error <= 1e-4
    assert archived.samples == original.samples == 360
    assert report.archive.sha256 == inspect(digits_archive)["sha256"]


def test_every_admissible_candidate_is_kept_where_that_is_asked_for(
    digits_recipe: Recipe, store: Path
) -> None:
    recipe = only(digits_recipe, ["torchscript:fp32", "eager:fp32", "eager:int8"])
    report = build(recipe.model_copy(update={"name": "kept"}), store, keep_all=True)
    assert report
    assert report == Report.read(store / "kept.report.json")
    fates = {each.candidate: each.status for each in report.candidates}
    assert sorted(fates.values()) == ["admissible", "shipped", "skipped"]
    assert fates["eager:int8"] == "skipped"
    kept = sorted(file.name for file in (store / "kept.candidates").iterdir())
    assert kept == ["eager-fp32.mar", "torchscript-fp32.mar"]
    for each in report.candidates:
        assert (each.archived is not None) == (each.status == "admissible")
        assert (each.timing is not None) == each.usable


def test_an_archive_that_was_refused_is_not_kept(digits_recipe: Recipe, tmp_path: Path) -> None:
    work, store = tmp_path / "work", tmp_path / "store"
    store.mkdir()
    rung = Rung("archived", 0.5, Difference(), {}, (1,), 1)
    best = Trial(Candidate("onnx", "fp32"), work / "log", "shipped")
    refused = Trial(Candidate("onnx", "int8"), work / "log", "refused", archived=rung)
    for trial in (best, refused):
        folder = work / trial.candidate.file_name
        folder.mkdir(parents=True)
        (folder / "digits.mar").write_bytes(b"")
    for name in ("report.json", "report.html", "cdx.json"):
        (work / name).touch()
    publish(digits_recipe, best, [best, refused], work, store)
    kept = [file.name for file in (store / "digits.candidates").iterdir()]
    assert kept == ["onnx-fp32.mar"]


def test_the_report_shows_samples_and_trusts_trained_weights(digits_archive: Path) -> None:
    report = Report.read(digits_archive.with_name("digits.report.json"))
    assert report.random == ()
    assert report.answers
    assert (report.answers.samples, report.answers.changed) == (360, 0)
    for each in report.answers.shown:
        assert each.picture
        assert each.expected == held_out()[each.index][1]


def test_weights_that_nobody_trained_are_named(digits_recipe: Recipe, tmp_path: Path) -> None:
    untrained = changed(digits_recipe, train=None)
    untrained = untrained.model_copy(update={"evaluation": None, "accept": Accept()})
    report = build(untrained, tmp_path)
    assert report
    assert set(report.random) >= {"features.0.weight", "classifier.weight", "classifier.bias"}
    assert report.answers is None


def test_a_second_build_gives_equal_bytes(
    digits_archive: Path, digits_recipe: Recipe, store: Path
) -> None:
    before = inspect(digits_archive)["sha256"]
    says: list[str] = []
    report = build(digits_recipe, store, says.append)
    assert report
    assert report.archive.sha256 == before
    assert report.earlier
    assert report.earlier.sha256 == before
    assert any("trained before" in line for line in says)


@pytest.mark.usefixtures("digits_archive")
@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ({"factory": f"{__name__}:Noisy", "train": None}, GateError, "otherwise each time"),
        ({"factory": f"{__name__}:no_module"}, BuildError, "not an nn.Module"),
        ({"factory": f"{__name__}:Unscriptable", "train": None}, BuildError, "TorchScript can't"),
        ({"checkpoint": Path("none.safetensors")}, BuildError, "no checkpoint none.safetensors"),
    ],
)
def test_a_failed_build_writes_nothing(
    digits_recipe: Recipe,
    tmp_path: Path,
    source: dict[str, object],
    error: type[BuildError],
    words: str,
) -> None:
    accept = Accept(max_abs_error=0.0001, metric_max_drop=1.0, min_cosine=-1)
    broken = changed(digits_recipe, **source).model_copy(update={"accept": accept})
    with pytest.raises(error, match=words):
        build(broken, tmp_path)
    assert not any(file.suffix for file in tmp_path.iterdir() if file.name != ".cache")


@pytest.mark.parametrize(
    ("data", "words"), [("pairs_of_text", "pairs"), ("broken_images", "item 0 can't be decoded")]
)
def test_bad_evaluation_data_is_said(
    digits_recipe: Recipe, tmp_path: Path, data: str, words: str
) -> None:
    assert digits_recipe.evaluation
    evaluation = digits_recipe.evaluation.model_copy(update={"data": f"{__name__}:{data}"})
    broken = changed(digits_recipe, train=None).model_copy(update={"evaluation": evaluation})
    with pytest.raises(BuildError, match=words):
        build(broken, tmp_path)


def test_a_model_without_evaluation_data_is_compared_on_its_example(
    digits_recipe: Recipe, tmp_path: Path
) -> None:
    bare = changed(digits_recipe, train=None).model_copy(update={"evaluation": None})
    report = build(bare, tmp_path)
    assert report
    assert [rung.samples for rung in report.ladder] == [1, 1, 1]
    assert [rung.metric for rung in report.ladder] == [None, None, None]


@pytest.mark.slow
def test_two_clones_give_equal_bytes(tmp_path: Path) -> None:
    """Training included: nothing of the folder, the moment or the process is in an archive."""
    digests = []
    for name in ("one", "another folder"):
        clone = tmp_path / name
        ignored = shutil.ignore_patterns(".*", "model_store", "tests", "*.egg-info")
        shutil.copytree(ROOT, clone, ignore=ignored)
        subprocess.run(
            [sys.executable, "-m", "marsmith.cli", "build", "archiver_configs/digits.yaml"],
            cwd=clone, check=True, env={**os.environ, "PYTHONPATH": str(clone)},
        )  # fmt: skip
        digests.append(inspect(clone / "model_store" / "digits.mar")["sha256"])
    assert digests[0] == digests[1]


@pytest.mark.slow
def test_what_is_built_is_served_to_the_build_where_only_what_is_signed_is(
    digits_recipe: Recipe, server_state: Path, store: Path, tmp_path: Path
) -> None:
    (tmp_path / ".cache").symlink_to((store / ".cache").resolve())
    intake.policy().mkdir()  # empty: it trusts nobody
    try:
        report = build(only(digits_recipe, ["torchscript:fp32"]), tmp_path, served=True)
        with pytest.raises(ArchiveError, match="is not signed"):
            server.serve(tmp_path / "digits.mar", port=0)
    finally:
        intake.policy().rmdir()
    assert report
    assert report.ladder[-1].name == "served"


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_stopped_build_leaves_nothing_half_written(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "marsmith.cli", "build", "archiver_configs/digits.yaml",
         "--model-store", str(tmp_path)],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("train"):
            break
    time.sleep(0.5)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == (130 if number == signal.SIGINT else 143), said
    assert "Traceback" not in said
    if number == signal.SIGINT:
        assert "stopped: nothing unfinished is left\nthe same command again begins anew" in said
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_is_stopped_later_says_what_it_keeps(tmp_path: Path) -> None:
    new.write("tiny", "image_classification", tmp_path)
    command = [sys.executable, "-m", "marsmith.cli", "build", "tiny/tiny.yaml"]
    forms = ("eager:fp32", "eager:fp16", "torchscript:fp32", "torchscript:fp16", "torchscript:int8")
    command += [word for each in forms for word in ("--candidate", each)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("3/5 convert to "):
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    kept = Path("model_store", ".cache")
    assert f"kept: what was trained, converted and measured so far, in {kept}\n" in said
    assert "the same command again goes on from there" in said
    assert [file.name for file in (tmp_path / "model_store").iterdir()] == [".cache"]
    assert any((tmp_path / kept / "made").iterdir())
    # What can't be tried was said before the first of them was.
    skipped = next(line for line in lines if "will be skipped: static int8 needs data" in line)
    assert skipped.startswith("torchscript:int8 will")
    first = next(line for line in lines if line.startswith("1/5 "))
    assert lines.index(skipped) < lines.index(first)
