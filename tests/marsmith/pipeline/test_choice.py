from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from marsmith.converters import Artifact
from marsmith.errors import BuildError, GateError
from marsmith.pipeline.choice import choose, expect_some, shipped
from marsmith.pipeline.trials import Trial
from marsmith.recipe.candidate import Candidate
from marsmith.recipe.sections import Recipe
from marsmith.report.measurements import Timing


@pytest.fixture
def tried(tmp_path: Path) -> list[Trial]:
    """Three admissible candidates, each the best at something, and a refused one."""
    figures = {"eager": (100, 1.0, 90.0), "onnx": (300, 3.0, 500.0), "openvino": (200, 0.5, 80.0)}
    trials = []
    for name, (size, p50_ms, per_s) in figures.items():
        model = tmp_path / name
        model.write_bytes(b"x" * size)
        timing = Timing(p50_ms, per_s, 8, 1)
        trials.append(
            Trial(Candidate(name, "fp32"), tmp_path, artifact=Artifact(model), timing=timing)
        )
    refused = Trial(Candidate("onnx", "int8"), tmp_path, "refused", "cosine 0.8 < min_cosine 0.99")
    return [*trials, refused]


@pytest.mark.parametrize(
    ("objective", "best"), [("latency", "openvino"), ("throughput", "onnx"), ("size", "eager")]
)
def test_the_objective_decides(
    digits_recipe: Recipe, tried: list[Trial], objective: str, best: str
) -> None:
    recipe = digits_recipe.model_copy(update={"objective": objective})
    chosen = choose(tried, recipe, Timing(2.0, 100.0, 8, 1))
    assert shipped(chosen).candidate.runtime == best
    assert shipped(chosen).verdict.startswith(f"best {objective}: ")
    assert sorted(trial.status for trial in chosen) == [
        "admissible", "admissible", "refused", "shipped",
    ]  # fmt: skip
    assert [trial.candidate for trial in chosen] == [trial.candidate for trial in tried]
    assert chosen[-1] == tried[-1]


def test_between_equals_the_other_figure_decides(digits_recipe: Recipe, tried: list[Trial]) -> None:
    tried[0] = replace(tried[0], timing=Timing(1.0, 490.0, 8, 1))  # onnx has 500, and takes 3 ms
    chosen = choose(tried, digits_recipe, Timing(2.0, 100.0, 8, 1))
    assert shipped(chosen).candidate.runtime == "eager"


def test_how_it_compares_with_the_original_is_said(
    digits_recipe: Recipe, tried: list[Trial]
) -> None:
    chosen = choose(tried, digits_recipe, Timing(2.0, 100.0, 8, 1))
    assert chosen[0].verdict.startswith("90 samples/s, the shipped one 500 samples/s: ")
    assert "0.90× the original's throughput (slower), 2.00× its speed" in chosen[0].verdict
    assert "slower" not in chosen[1].verdict.partition(",")[0]
    assert chosen[1].verdict.endswith("0.67× its speed at batch 1 (slower)")


def test_when_none_is_left_all_reasons_are_said(tmp_path: Path) -> None:
    tried = [
        Trial(Candidate("onnx", "int8"), tmp_path, "refused", "cosine 0.8 < min_cosine 0.99"),
        Trial(Candidate("pt2", "fp32"), tmp_path, "skipped", "there is no C++ compiler"),
    ]
    tried.append(Trial(Candidate("onnx", "fp16"), tmp_path, "skipped", "there is no C++ compiler"))
    with pytest.raises(GateError, match="onnx:int8: refused: cosine") as caught:
        expect_some(tried)
    assert "pt2:fp32, onnx:fp16: skipped: there is no C++ compiler" in caught.value.message


def test_what_stopped_the_only_one_is_said_with_its_log(tmp_path: Path) -> None:
    error = BuildError("operator x is not known")
    log = tmp_path / "onnx-fp32.log"
    tried = [Trial(Candidate("onnx", "fp32"), log, "failed", error=error)]
    with pytest.raises(BuildError, match="operator x") as caught:
        expect_some(tried)
    assert str(log) in caught.value.hint
