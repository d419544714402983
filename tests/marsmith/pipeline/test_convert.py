from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from handlers import runtimes
from marsmith.errors import BuildError, GateError, RecipeError, UnsupportedError
from marsmith.pipeline.convert import convert
from marsmith.recipe.sections import Accept, Recipe
from marsmith.report.report import ConversionReport


@pytest.fixture
def untrained(digits_recipe: Recipe) -> Recipe:
    """Digits with random weights: nothing to train, and no metric to keep."""
    source = digits_recipe.source.model_copy(update={"train": None})
    return digits_recipe.model_copy(update={"source": source, "accept": Accept()})


def test_what_is_written_is_what_was_compared(untrained: Recipe, tmp_path: Path) -> None:
    report = convert(untrained, "torchscript", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert list(written) == [
        "difference", "files", "format", "metric", "options", "outputs", "precision", "samples",
        "versions",
    ]  # fmt: skip
    assert ConversionReport.model_validate(written) == report
    assert report.samples == 360
    assert report.outputs["output"].max_abs_error <= 1e-4
    (file,) = report.files
    assert (tmp_path / "out" / file).stat().st_size == report.files[file]
    cpu = torch.device("cpu")
    runtime = runtimes.load("torchscript", tmp_path / "out" / file, cpu, report.options)
    assert runtime({"image": torch.zeros(2, 1, 8, 8)})["output"].shape == (2, 10)
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("to", "error", "words"),
    [
        ("onx", RecipeError, "did you mean 'onnx'"),
        ("eager:int8", UnsupportedError, "no precision 'int8'; it has fp32"),
    ],
)
def test_what_there_is_not_is_said_at_once(
    untrained: Recipe, tmp_path: Path, to: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        convert(untrained, to, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(untrained: Recipe, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BuildError, match="not an empty folder"):
        convert(untrained, "torchscript", tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_what_misses_a_bound_is_not_left(untrained: Recipe, tmp_path: Path) -> None:
    strict = untrained.model_copy(update={"accept": Accept(max_abs_error=1e-6)})
    with pytest.raises(GateError, match="max_abs_error"):
        convert(strict, "eager:bf16", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
