"""Folders of CLIP and SigLIP: built with a short recipe, they answer as transformers' pipeline."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.zero_shot_image_classification import (
    ZeroShotImageClassification,
    ZeroShotOptions,
)
from marsmith.cache import Cache
from marsmith.errors import GateError, UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.original import Prepared, prepare
from marsmith.recipe import reading
from marsmith.sources.heads import zero_shot_image_classification as head
from marsmith.sources.huggingface import HuggingFace
from tests.support.in_batches import answers_in_batches
from tests.support.transformers_tokenizers import write_label_tokenizer
from tests.support.vision_folders import TEXTS, bodies, save, without_transformers

SETS = [("cat", "dog"), ("a small bird", "dog", "crane"), ("dog",)]
TEMPLATES = ["This is a photo of {}.", "{}"]
TOLERANCE = 1e-4
# SigLIP's published tokenizers say nothing of a mask: padding is read.
FAMILIES = ["clip", "siglip", "siglip_with_mask"]


def saved(folder: Path, family: str) -> Path:
    texts = {**TEXTS, "max_position_embeddings": 64, "eos_token_id": 1, "pad_token_id": 1}
    save(folder, family.removesuffix("_with_mask"), "Model", {"text_config": texts})
    mask = [] if family == "siglip" else ["attention_mask"]
    write_label_tokenizer(folder, "input_ids", *mask)
    return folder


def answers_of_transformers(folder: Path, names: tuple[str, ...], template: str) -> list[Any]:
    from transformers import pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ask: Any = pipeline("zero-shot-image-classification", model=str(folder))
        images = [Image.open(io.BytesIO(body)) for body in bodies()]
        found = [
            ask(each, candidate_labels=[*names], hypothesis_template=template) for each in images
        ]
    return [{one["label"]: one["score"] for one in each} for each in found]


def check(answers: list[dict[str, float]], wanted: list[dict[str, float]]) -> None:
    for answer, one in zip(answers, wanted, strict=True):
        assert answer == pytest.approx(one, abs=TOLERANCE)


def handler_of(folder: Path, work: Path) -> ZeroShotImageClassification:
    source = HuggingFace(huggingface=folder, head="zero_shot_image_classification")
    module = source.load(Cache(work), lambda line: None)
    (out := work / "out").mkdir()
    handler: ZeroShotImageClassification = tasks.find("zero_shot_image_classification")()
    section = {"task": "zero_shot_image_classification", "defaults": {"labels": ["cat", "dog"]}}
    handler.configure({**section, **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    return handler


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_answers_as_transformers_does(tmp_path: Path, family: str) -> None:
    folder = saved(tmp_path / "model", family)
    handler = handler_of(folder, tmp_path)
    spread = []
    for template in TEMPLATES:
        for names in SETS:
            wanted = answers_of_transformers(folder, names, template)
            options = ZeroShotOptions(labels=names, hypothesis_template=template)
            for _ in ("new", "known"):
                samples = [handler.decode(each, options) for each in bodies()]
                check(answers_in_batches(handler, samples), wanted)
            assert {each.tensors["input_ids"].shape for each in samples} == {(1, 1)}
            spread.append(max(x[names[0]] for x in wanted) - min(x[names[0]] for x in wanted))
    assert max(spread) > 0.01  # another preparation would be noticed


def recipe_of(folder: Path, **more: object) -> dict[str, Any]:
    return {
        "name": "m", "task": "zero_shot_image_classification",
        "source": {"huggingface": str(folder)},
        "handler": {"defaults": {"labels": ["cat", "a small bird", "crane"]}}, **more,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "dtype"), [*((each, "float32") for each in FAMILIES), ("clip", "uint8")]
)
def test_its_archive_does_too(tmp_path: Path, family: str, dtype: str) -> None:
    folder = saved(tmp_path / "model", family)
    engines = {"runtime": "auto", "candidates": ["torchscript:fp32", "onnx:fp32", "openvino:fp32"]}
    recipe = recipe_of(folder, **engines)
    recipe["handler"]["input_dtype"] = dtype
    report = build(recipe, tmp_path / "store")
    assert report is not None
    assert report.ladder[0].name == "untouched"
    alone = without_transformers(tmp_path)
    with Harness(tmp_path / "store" / "m.mar", batch_size=8, env=alone) as harness:
        for names in (*SETS, SETS[0]):
            sent = json.dumps(names)
            asked = [Request.form({"data": body, "labels": sent}) for body in bodies()]
            found = harness.predict(asked[:8]) + harness.predict(asked[8:])
            assert all(response.status == 200 for response in found), [x.body for x in found]
            wanted = answers_of_transformers(folder, names, TEMPLATES[0])
            check([response.json() for response in found], wanted)


# -- What is wrong is refused by the first rung ---------------------------------------------------


def prepared(folder: Path, work: Path) -> Prepared:
    recipe = recipe_of(folder, evaluation={"data": "tests.support.vision_folders:bodies"})
    (work / "work").mkdir()
    return prepare(reading.load(recipe), work, work / "work", lambda line: None)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("clip", {"scale": 12.0}),
        ("clip", {"activation": "sigmoid"}),
        ("siglip", {"bias": 1.0}),
        ("siglip", {"text_length": 63}),
        ("siglip", {"activation": "softmax"}),
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, changes: dict[str, object]
) -> None:
    whole = head._compares
    monkeypatch.setattr(head, "_compares", lambda *both: {**whole(*both), **changes})
    with pytest.raises(GateError, match="is answered with"):
        prepared(saved(tmp_path / "model", family), tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_that_is_right_is_compared(tmp_path: Path, family: str) -> None:
    found = prepared(saved(tmp_path / "model", family), tmp_path)
    assert [rung.name for rung in found.rungs] == ["untouched", "original"]
    assert found.rungs[0].samples == len(bodies())


def test_another_kind_is_refused(tmp_path: Path) -> None:
    model = torch.nn.Module()
    model.config = type("Config", (), {"model_type": "align"})  # type: ignore[assignment]
    with pytest.raises(UnsupportedError, match="is a align"):
        head.wrap(model, tmp_path)
