"""Folders of transformers' segmentation models: each pixel has the class that it gives it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from handlers import tasks
from handlers.images import run_lengths
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.semantic_segmentation import SemanticSegmentation
from marsmith.cache import Cache
from marsmith.errors import GateError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.original import prepare
from marsmith.recipe import reading
from marsmith.sources.heads import _on_images, _preprocessor
from marsmith.sources.huggingface import HuggingFace
from tests.support.in_batches import answers_in_batches
from tests.support.vision_folders import LABELS, SEGMENTERS, bodies, save, without_transformers

NAMES = [*list(LABELS.values())[:4], "crane (4)"]
KIND = "ForSemanticSegmentation"


def maps_of_transformers(folder: Path) -> list[np.ndarray[Any, Any]]:
    """The number of each pixel's class, from the masks of the pipeline."""
    from transformers import pipeline

    segment: Any = pipeline("image-segmentation", model=str(folder))
    segment.model.config.id2label = dict(enumerate(NAMES))
    found = []
    for body in bodies():
        masks = segment(Image.open(io.BytesIO(body)), subtask="semantic")
        numbers = np.zeros(masks[0]["mask"].size[::-1], np.int64)
        for each in masks:
            numbers[np.asarray(each["mask"]) > 0] = NAMES.index(each["label"])
        found.append(numbers)
    assert len(set(np.concatenate([each.ravel() for each in found]).tolist())) > 2
    return found


def check(answers: list[dict[str, Any]], folder: Path) -> None:
    """All pixels, but for some whose two best classes are all but equal."""
    for answer, wanted in zip(answers, maps_of_transformers(folder), strict=True):
        assert (answer["height"], answer["width"]) == wanted.shape
        numbers = run_lengths.decode(answer["classes"], answer["lengths"])
        assert (numbers.reshape(wanted.shape) != wanted).mean() <= 1e-3
        for number, name in enumerate(NAMES):
            assert answer["areas"].get(name, 0) == (numbers == number).sum()


@pytest.mark.parametrize("family", SEGMENTERS)
def test_a_folder_answers_as_transformers_does(tmp_path: Path, family: str) -> None:
    folder = save(tmp_path / "model", family, KIND)
    source = HuggingFace(huggingface=folder, head="semantic_segmentation")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    handler: SemanticSegmentation = tasks.find("semantic_segmentation")()
    handler.configure({"task": "semantic_segmentation", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    samples = [handler.decode(each, handler.default_options) for each in bodies()]
    check(answers_in_batches(handler, samples), folder)
    check(answers_in_batches(handler, samples, limit=1), folder)


@pytest.mark.slow
@pytest.mark.parametrize("family", SEGMENTERS)
def test_its_archive_does_too(tmp_path: Path, family: str) -> None:
    folder = save(tmp_path / "model", family, KIND)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: x\ntask: semantic_segmentation\nsource: {{huggingface: {folder}}}\n")
    report = build(reading.load(recipe), tmp_path / "store")
    assert report is not None
    assert report.ladder[0].name == "untouched"
    alone = without_transformers(tmp_path)
    with Harness(tmp_path / "store" / "x.mar", batch_size=8, env=alone) as harness:
        found = harness.predict([Request.raw(body) for body in bodies()[:8]])
        found += harness.predict([Request.raw(body) for body in bodies()[8:]])
    check([response.json() for response in found], folder)


def prepared(folder: Path, work: Path) -> list[str]:
    recipe = {
        "name": "m", "task": "semantic_segmentation", "source": {"huggingface": str(folder)},
        "evaluation": {"data": "tests.support.vision_folders:bodies"},
    }  # fmt: skip
    (work / "work").mkdir()
    found = prepare(reading.load(recipe), work, work / "work", lambda line: None)
    return [rung.name for rung in found.rungs]


@pytest.mark.parametrize("family", SEGMENTERS)
def test_a_folder_that_is_right_is_compared(tmp_path: Path, family: str) -> None:
    assert prepared(save(tmp_path / "model", family, KIND), tmp_path) == ["untouched", "original"]


def test_another_mean_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(processor: Any, folder: Path) -> dict[str, object]:
        return {**whole(processor, folder), "mean": [0.5, 0.5, 0.5]}

    whole = _preprocessor.settings
    monkeypatch.setattr(_preprocessor, "see_that_it_prepares", lambda *_: None)
    monkeypatch.setattr(_preprocessor, "settings", other)
    with pytest.raises(GateError, match=r"output .* of the model"):
        prepared(save(tmp_path / "model", "segformer", KIND), tmp_path)


def test_permuted_labels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def permuted(module: torch.nn.Module, folder: Path, out: Path) -> dict[str, object]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_on_images, "labels", lambda config: NAMES[::-1])
            return brings(module, folder, out)

    brings = _on_images.bring
    monkeypatch.setattr(_on_images, "bring", permuted)
    with pytest.raises(GateError, match="is answered with"):
        prepared(save(tmp_path / "model", "segformer", KIND), tmp_path)
