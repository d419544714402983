"""Int8 that misses a bound is tried again with the layers that do harm left in float32."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marsmith.cache import Cache
from marsmith.pipeline import sensitivity
from marsmith.pipeline.original import Prepared, prepare
from marsmith.pipeline.trials import Trial, attempt
from marsmith.recipe.candidate import Candidate
from marsmith.recipe.sections import Accept, Recipe
from marsmith.report.measurements import LayerHarm

ONNX = Candidate("onnx", "int8")
OUTLIER = 90.0  # NNCF gives no channel a scale below a hundredth of the largest


def planted(module: torch.nn.Module) -> torch.nn.Module:
    """The same function, in which one channel between two convolutions is far larger than all."""
    made = copy.deepcopy(module)
    with torch.no_grad():
        for name in ("features.1.weight", "features.1.bias"):
            made.get_parameter(name)[0] *= OUTLIER
        made.get_parameter("features.3.weight")[:, 0] /= OUTLIER
    return made


@pytest.fixture(scope="module")
def prepared(
    digits_recipe: Recipe, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Prepared:
    """Digits with a planted outlier, for a CPU without VNNI, with an empty cache."""
    recipe = digits_recipe.model_copy(update={"accept": Accept(min_cosine=0.98)})
    found = prepare(recipe, store / ".cache", tmp_path_factory.mktemp("work"), lambda line: None)
    module = planted(found.job.module)
    job = replace(found.job, module=module, instructions=frozenset())
    cache = Cache(tmp_path_factory.mktemp("cache"))
    logs = tmp_path_factory.mktemp("logs")
    return replace(found, job=job, made_from="planted", cache=cache, logs=logs)


@pytest.mark.parametrize("runtime", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_only_a_planted_outlier_stays_in_float32(
    prepared: Prepared, runtime: str, capfd: pytest.CaptureFixture[str]
) -> None:
    refused = attempt(Candidate(runtime, "int8"), prepared)
    assert refused.status == "refused"
    said: list[str] = []
    mended = sensitivity.mended(refused, prepared, said.append)
    assert (mended.status, [layer.title for layer in mended.kept]) == ("admissible", ["features.3"])
    assert mended.verdict == "1 of 3 layers in float32"
    assert mended.measured.difference.min_cosine >= 0.98
    assert mended.converted.size > refused.converted.size
    assert said[-1:] == [f"convert to {runtime}:int8 with 1 of 3 layers in float32, and compare"]
    assert capfd.readouterr() == ("", "")


def test_what_was_measured_is_not_measured_again(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = attempt(ONNX, prepared)
    first = sensitivity.mended(refused, prepared, lambda line: None)
    monkeypatch.setattr("marsmith.converters._sensitivity.measure", None)
    monkeypatch.setattr("marsmith.converters.onnx.convert", None)
    again = sensitivity.mended(refused, prepared, lambda line: None)
    assert (again.status, again.kept, again.rung) == ("admissible", first.kept, first.rung)


def test_where_half_of_the_layers_are_not_enough_that_is_said(prepared: Prepared) -> None:
    strict = prepared.recipe.model_copy(update={"accept": Accept(max_abs_error=1e-9)})
    given = replace(prepared, recipe=strict)
    refused = attempt(ONNX, given)
    found = sensitivity.mended(refused, given, lambda line: None)
    assert (found.status, found.kept, found.error) == ("refused", (), refused.error)
    assert found.verdict == f"{refused.verdict}; also with 1 of its 3 layers in float32"


@pytest.mark.parametrize(
    ("candidate", "status"),
    [
        ("onnx:int8", "admissible"),
        ("onnx:int8_dynamic", "refused"),
        ("torchscript:int8", "refused"),
    ],
)
def test_only_a_refused_static_int8_of_such_a_runtime_is_mended(
    prepared: Prepared, candidate: str, status: str
) -> None:
    trial = Trial(Candidate(*candidate.split(":")), Path("log"), status)  # type: ignore[arg-type]
    assert sensitivity.mended(trial, prepared, lambda line: None) is trial


@given(most=st.integers(1, 200), data=st.data())
def test_the_fewest_are_found_in_few_trials(most: int, data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, most + 1))
    tried: list[int] = []

    def kept(count: int) -> Trial:
        tried.append(count)
        layers: Sequence[LayerHarm] = [LayerHarm(str(each), "", 0.0) for each in range(count)]
        return Trial(
            ONNX, Path("log"), "admissible" if count >= needed else "refused", kept=tuple(layers)
        )

    found, failed = sensitivity.fewest(kept, most)
    assert (len(found.kept) if found else most + 1) == needed
    assert failed == needed - 1
    assert len(tried) == len(set(tried)) <= 2 * most.bit_length() + 1


def test_a_search_out_of_time_begins_nothing_more() -> None:
    tried: list[int] = []

    def kept(count: int) -> Trial:
        tried.append(count)
        return Trial(ONNX, Path("log"), "admissible" if count >= 5 else "refused")

    assert sensitivity.fewest(kept, 8, seconds=0)[0] is None
    assert tried == [1]
