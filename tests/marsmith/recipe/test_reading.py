from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from marsmith.errors import RecipeError
from marsmith.recipe import reading
from marsmith.sources.factory import Factory
from tests.support.paths import ROOT

MINIMAL = {
    "name": "mine",
    "task": "image_classification",
    "source": {"factory": "examples.digits:model"},
}


def write(folder: Path, **changes: object) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, **changes}))
    return path


def test_what_ships_can_be_read() -> None:
    for path in (ROOT / "archiver_configs").glob("*.yaml"):
        assert reading.load(path).name == path.stem


def test_a_recipe_is_frozen(tmp_path: Path) -> None:
    loaded = reading.load(write(tmp_path))
    with pytest.raises(ValidationError, match="frozen"):
        loaded.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"runtim": "eager"}, ["'runtim'", "did you mean 'runtime'"]),
        ({"serving": {"batchsize": 8}}, ["serving", "'batchsize'", "did you mean 'batch_size'"]),
        ({"serving": {"batch_size": "8"}}, ["serving.batch_size", "valid integer"]),
        ({"serving": {"batch_size": 0}}, ["serving.batch_size", "greater than or equal to 1"]),
        ({"serving": {"batch_size": 10**9}}, ["serving.batch_size", "less than or equal to 65536"]),
        ({"serving": {"job_queue_size": 10**11}}, ["job_queue_size", "less than or equal to"]),
        ({"serving": {"queue_timeout_s": math.inf}}, ["queue_timeout_s", "less than or equal to"]),
        ({"serving": {"max_batch_delay_ms": 0}}, ["max_batch_delay_ms"]),
        ({"serving": {"min_workers": 9}}, ["max_workers must be at least min_workers, 9"]),
        ({"accept": {"metric_atleast": 1.0}}, ["did you mean 'metric_at_least'"]),
        ({"handler": {"greyscal": True}}, ["'greyscal'", "did you mean 'greyscale'"]),
        ({"handler": {"resize": "8"}}, ["'resize'", "an integer"]),
        ({"handler": {"defaults": {"topk": 1}}}, ["handler.defaults", "did you mean 'top_k'"]),
        ({"task": "tabluar"}, ["mine.yaml: 'tabluar'", "in 'task'", "did you mean 'tabular'"]),
        ({"task": "image_handler"}, ["'image_handler' is not allowed in 'task'", "tabular"]),
        ({"runtime": "torchscrip"}, ["did you mean 'torchscript'"]),
        ({"source": {"factry": "a:b"}}, ["must name one of", "factory"]),
        ({"source": {"factory": "a:b", "chckpoint": "x"}}, ["did you mean 'checkpoint'"]),
        ({"source": "factory"}, ["'source' must be a mapping"]),
        ({"name": "../mine"}, ["name"]),
        ({"name": "tokenizer"}, ["token"]),
        ({"files": ["labels.json"]}, ["labels.json", "does not exist"]),
        ({"files": "labels.json"}, ["'files' must be a list"]),
        ({"evaluation": {"dat": "a:b"}}, ["'dat'", "did you mean 'data'"]),
        ({"accept": {"metric_at_least": 0.9}}, ["needs an 'evaluation'"]),
        ({"handler": {"runtime": "eager"}}, ["'runtime' is decided by"]),
        ({"source": {"factory": "a:b", "checkpoint": None, "train": 5}}, ["source.train"]),
        ({"source": {"factory": "a:b", "checkpoint": 5}}, ["source.checkpoint"]),
        ({"precision": "int4"}, ["precision", "fp32"]),
        ({"runtime": "auto", "precision": "int8"}, ["'candidates' say which precisions"]),
        ({"runtime": "auto", "candidates": ["onx"]}, ["did you mean 'onnx'", "all"]),
        ({"runtime": "auto", "candidates": ["eager:int4"]}, ["'int4'", "int8_dynamic"]),
        ({"candidates": ["eager"]}, ["are for 'runtime: auto'"]),
        ({"objective": "speed"}, ["objective", "latency"]),
        ({"passes": {"distill": {}}}, ["'passes' must be a list"]),
        ({"passes": [{}]}, ["'passes' must be a list of names", "prune_structured"]),
        ({"passes": [{"distill": {}, "qat": {}}]}, ["'passes' must be a list of names"]),
        ({"passes": [{"qat": 5}]}, ["passes.0.qat must be a mapping"]),
        ({"passes": ["distil"]}, ["mine.yaml: 'distil'", "did you mean 'distill'"]),
        ({"passes": [{"prune_structured": {"ration": 1}}]}, ["did you mean 'ratio'"]),
        ({"training": {"data": "a:b", "epochs": 0}}, ["training.epochs"]),
        ({"calibration": {"dat": "a:b"}}, ["did you mean 'data'"]),
        ({"conversion": {"tarce": True}}, ["did you mean 'trace'"]),
        ({"files": ["no_such_package:x"]}, ["'no_such_package'", "pip install"]),
    ],
)
def test_what_is_not_allowed_is_named(
    tmp_path: Path, changes: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(RecipeError) as caught:
        reading.load(write(tmp_path, **changes))
    said = f"{caught.value.message} {caught.value.hint}"
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize(
    ("text", "word"),
    [("- a\n- b\n", "mapping"), ("a: [", "not YAML"), ("", "mapping"), ("a: 1\xff", "not YAML")],
)
def test_what_is_no_recipe_is_said(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeError, match=word):
        reading.load(path)


def test_a_missing_recipe_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="can't be read"):
        reading.load(tmp_path / "none.yaml")


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text("[]")
    source = {"factory": "examples.digits:model", "checkpoint": "weights.safetensors"}
    loaded = reading.load(write(tmp_path, source=source, files=["labels.json"]))
    assert loaded.files == (tmp_path / "labels.json",)
    assert isinstance(loaded.source, Factory)
    assert loaded.source.checkpoint == tmp_path / "weights.safetensors"


def test_a_path_may_be_inside_an_installed_package(tmp_path: Path) -> None:
    loaded = reading.load(write(tmp_path, files=["torch:py.typed"]))
    assert loaded.files[0].parent.name == "torch"


def test_passes_keep_their_order(tmp_path: Path) -> None:
    passes = [{"prune_unstructured": {"amount": 0.3}}, {"prune_structured": {"ratio": 0.5}}]
    loaded = reading.load(write(tmp_path, passes=passes))
    names = [type(each).__module__.rpartition(".")[2] for each in loaded.passes]
    assert names == ["prune_unstructured", "prune_structured"]
