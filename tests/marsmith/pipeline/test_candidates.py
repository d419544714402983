from __future__ import annotations

import pytest

from handlers import runtimes
from marsmith import converters
from marsmith.errors import RecipeError
from marsmith.pipeline.candidates import only, parse, wanted
from marsmith.recipe.candidate import Candidate
from marsmith.recipe.sections import Recipe


def test_a_named_runtime_is_one_candidate(digits_recipe: Recipe) -> None:
    assert wanted(digits_recipe) == [Candidate("torchscript", "fp32")]


def test_auto_tries_what_is_sensible(digits_recipe: Recipe) -> None:
    found = wanted(digits_recipe.model_copy(update={"runtime": "auto"}))
    assert {Candidate("eager", "fp32"), Candidate("torchscript", "fp32")} <= set(found)
    assert all(each.precision in converters.find(each.runtime).PRECISIONS for each in found)


def test_auto_tries_what_runs_on_a_gpu(digits_recipe: Recipe) -> None:
    serving = digits_recipe.serving.model_copy(update={"device": "gpu"})
    found = wanted(digits_recipe.model_copy(update={"runtime": "auto", "serving": serving}))
    assert {Candidate("pt2", "fp16"), Candidate("torchscript", "fp16")} <= set(found)
    assert "openvino" not in {each.runtime for each in found}, "it runs on CPUs alone"
    assert {each.precision for each in found} == {"fp32", "bf16", "fp16"}
    assert all(each.precision in converters.find(each.runtime).PRECISIONS for each in found)


def test_a_runtime_alone_means_all_its_precisions() -> None:
    assert [str(each) for each in parse("eager")] == [
        f"eager:{precision}" for precision in converters.find("eager").PRECISIONS
    ]
    assert parse("eager:all") == parse("eager")
    assert {each.runtime for each in parse("all")} == set(runtimes.known())
    assert parse("all:all") == parse("all")


def test_each_candidate_is_tried_once(digits_recipe: Recipe) -> None:
    changes = {"runtime": "auto", "candidates": ("eager:fp32", "eager", "eager:fp32")}
    found = wanted(digits_recipe.model_copy(update=changes))
    assert len(found) == len(set(found)) == len(parse("eager"))


def test_the_command_line_overrides_the_recipe(digits_recipe: Recipe) -> None:
    assert wanted(only(digits_recipe, ["onnx:int8"])) == [Candidate("onnx", "int8")]
    several = only(digits_recipe, ["onnx:int8", "eager:fp32"])
    assert wanted(several) == [Candidate("onnx", "int8"), Candidate("eager", "fp32")]


@pytest.mark.parametrize(
    ("name", "words"), [("onx", "did you mean 'onnx'"), ("onnx:int4", "int8_dynamic")]
)
def test_an_unknown_candidate_is_named(digits_recipe: Recipe, name: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        only(digits_recipe, [name])
