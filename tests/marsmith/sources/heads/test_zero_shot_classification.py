"""Folders of NLI models: built with a short recipe, they answer as transformers' pipeline does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.zero_shot_classification import ZeroShotClassification
from handlers.tasks.zero_shot_classification import ZeroShotClassificationOptions as Options
from marsmith.cache import Cache
from marsmith.errors import BuildError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.sources.huggingface import HuggingFace
from tests.support import cross_encoders
from tests.support.in_batches import answers_in_batches

ASKED: list[dict[str, Any]] = [
    {"text": "the größte cat", "candidate_labels": ["dogs", "the cat", "a"]},
    {"text": "dog the " * 30, "candidate_labels": ["cat", "dogs the dogs"]},
    {"text": "a", "candidate_labels": "the cat"},
]
LAST = {0: "contradiction", 1: "neutral", 2: "ENTAILMENT"}
FIRST = {0: "entailed", 1: "neutral", 2: "no"}
TWO = {0: "entailment", 1: "not_entailment"}


def named(classes: dict[int, str]) -> dict[str, Any]:
    places = {label: place for place, label in classes.items()}
    return {"id2label": classes, "label2id": places, "num_labels": len(classes)}


def of_transformers(folder: Path, options: Options) -> list[dict[str, float]]:
    from transformers import pipeline

    ask: Any = pipeline("zero-shot-classification", model=str(folder))
    ask.tokenizer.model_max_length = cross_encoders.LONGEST
    said = {
        "hypothesis_template": options.hypothesis_template,
        "multi_label": options.multi_label,
    }
    found = [ask(each["text"], each["candidate_labels"], **said) for each in ASKED]
    return [dict(zip(each["labels"], each["scores"], strict=True)) for each in found]


def check(answers: list[Any], folder: Path, options: Options) -> None:
    for answer, wanted in zip(answers, of_transformers(folder, options), strict=True):
        assert answer["scores"] == pytest.approx(wanted, abs=1e-4)
        assert list(answer["scores"]) == list(wanted)
    assert answers[1]["truncated"]


@pytest.mark.parametrize(
    ("make", "classes", "options"),
    [
        (cross_encoders.bert, LAST, Options()),
        (cross_encoders.bert, FIRST, Options(multi_label=True)),
        (cross_encoders.roberta, TWO, Options(multi_label=True)),
        (cross_encoders.modernbert, FIRST, Options(hypothesis_template="the {} cat")),
    ],
)
def test_a_folder_answers_as_transformers_does(
    tmp_path: Path, make: Callable[..., None], classes: dict[int, str], options: Options
) -> None:
    folder = cross_encoders.saved(tmp_path / "model", make, **named(classes))
    source = HuggingFace(huggingface=folder, head="zero_shot_classification")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    section = {"task": "zero_shot_classification", **source.bring(module, out, {})}
    assert section["entailment"] == (2 if classes is LAST else 0)
    defaults = {name: getattr(options, name) for name in ("hypothesis_template", "multi_label")}
    section["defaults"] = defaults
    handler: ZeroShotClassification = tasks.find("zero_shot_classification")()
    handler.configure(section, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=2)
    handler.screen(ASKED)
    samples = [handler.decode(each, handler.default_options) for each in ASKED]
    answers = answers_in_batches(handler, samples, limit=2)
    check(answers, folder, options)
    own = source.untouched(ASKED, section, lambda line: None)
    assert own is not None
    assert all(own.answers)
    assert own.outputs[1] is None  # of what is cut, its own pipeline alone tells
    assert own.outputs[2] is not None
    for answer, told in zip(answers, own.answers, strict=True):
        assert isinstance(told, dict)
        assert answer["scores"] == pytest.approx(told["scores"], abs=1e-4)


def test_a_model_that_tells_something_else_is_refused(tmp_path: Path) -> None:
    classes = named({0: "bad", 1: "good"})
    folder = cross_encoders.saved(tmp_path / "model", cross_encoders.bert, **classes)
    source = HuggingFace(huggingface=folder, head="zero_shot_classification")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    with pytest.raises(BuildError, match="no class of model is for what is entailed: bad, good"):
        source.bring(module, out, {})


@pytest.mark.slow
def test_its_archive_does_too(tmp_path: Path) -> None:
    folder = cross_encoders.saved(tmp_path / "model", cross_encoders.bert, **named(LAST))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: x\ntask: zero_shot_classification\nsource: {{huggingface: {folder}}}\n"
    )
    build(reading.load(recipe), tmp_path / "store")
    with Harness(tmp_path / "store" / "x.mar", batch_size=8) as harness:
        found = harness.predict([Request.json(each) for each in ASKED])
    assert all(response.status == 200 for response in found)
    check([response.json() for response in found], folder, Options())
