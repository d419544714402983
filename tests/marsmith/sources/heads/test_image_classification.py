"""Folders of transformers' image classifiers: built with a short recipe, they answer as it does."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.image_classification import ImageClassification
from marsmith.cache import Cache
from marsmith.cli.draft import write
from marsmith.errors import BuildError, GateError, UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.original import Prepared, prepare
from marsmith.recipe import reading
from marsmith.sources.heads import _on_images, _preprocessor
from marsmith.sources.huggingface import HuggingFace
from tests.support.in_batches import answers_in_batches
from tests.support.vision_folders import FAMILIES, bodies, save, without_transformers


def answers_of_transformers(folder: Path) -> list[dict[str, float]]:
    """Label to score of each of the bodies; of two equal labels, the second as we call it."""
    from transformers import pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classify: Any = pipeline("image-classification", model=str(folder))
        classify.model.config.id2label[4] = "crane (4)"
        images = [Image.open(io.BytesIO(body)) for body in bodies()]
        found = [classify(each, top_k=5) for each in images]
    return [{one["label"]: one["score"] for one in each} for each in found]


def check(answers: list[dict[str, float]], folder: Path) -> None:
    wanted = answers_of_transformers(folder)
    ranges = [max(x[name] for x in wanted) - min(x[name] for x in wanted) for name in wanted[0]]
    assert max(ranges) > 0.1  # another preparation would be noticed
    for answer, one in zip(answers, wanted, strict=True):
        assert answer == pytest.approx(one, abs=1e-4)


def handler_of(folder: Path, work: Path) -> ImageClassification:
    source = HuggingFace(huggingface=folder, head="image_classification")
    module = source.load(Cache(work), lambda line: None)
    (out := work / "out").mkdir()
    handler: ImageClassification = tasks.find("image_classification")()
    handler.configure({"task": "image_classification", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    return handler


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_answers_as_transformers_does(tmp_path: Path, family: str) -> None:
    folder = save(tmp_path / "model", family)
    handler = handler_of(folder, tmp_path)
    samples = [handler.decode(each, handler.default_options) for each in bodies()]
    check(answers_in_batches(handler, samples), folder)
    check(answers_in_batches(handler, samples, limit=1), folder)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_its_archive_does_too(tmp_path: Path, family: str) -> None:
    folder = save(tmp_path / "model", family)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: x\ntask: image_classification\nsource: {{huggingface: {folder}}}\n")
    report = build(reading.load(recipe), tmp_path / "store")
    assert report is not None
    assert report.ladder[0].name == "untouched"
    alone = without_transformers(tmp_path)
    with Harness(tmp_path / "store" / "x.mar", batch_size=8, env=alone) as harness:
        found = harness.predict([Request.raw(body) for body in bodies()[:8]])
        found += harness.predict([Request.raw(body) for body in bodies()[8:]])
    assert all(response.status == 200 for response in found), [each.body for each in found]
    check([response.json() for response in found], folder)


def test_a_folder_needs_no_recipe_of_ones_own(tmp_path: Path) -> None:
    folder = save(tmp_path / "vit", "vit")
    recipe = write(folder, "image_classification", None, tmp_path / "vit.yaml")
    report = build(recipe, tmp_path / "store")
    assert report is not None
    assert report.ladder[0].name == "untouched"


@pytest.mark.parametrize(
    ("said", "activation"),
    [({}, "softmax"), ({"problem_type": "multi_label_classification"}, "sigmoid")],
)
def test_scores_are_made_as_the_pipeline_makes_them(
    tmp_path: Path, said: Mapping[str, Any], activation: str
) -> None:
    folder = save(tmp_path / "model", "vit", said=said)
    handler = handler_of(folder, tmp_path)
    assert handler.config.activation == activation
    samples = [handler.decode(each, handler.default_options) for each in bodies()]
    check(answers_in_batches(handler, samples), folder)


# -- What is wrong is refused by the first rung ---------------------------------------------------

whole = _preprocessor.settings


def other(**changes: object) -> Callable[..., dict[str, object]]:
    return lambda processor, folder: {**whole(processor, folder), **changes}


def prepared(folder: Path, work: Path, **more: object) -> Prepared:
    recipe = {
        "name": "m", "task": "image_classification", "source": {"huggingface": str(folder)},
        "evaluation": {"data": "tests.support.vision_folders:bodies"}, **more,
    }  # fmt: skip
    (work / "work").mkdir()
    return prepare(reading.load(recipe), work, work / "work", lambda line: None)


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": [0.48, 0.46, 0.41]},
        {"std": [0.5, 0.5, 0.4]},
        {"interpolation": "bilinear"},
        {"crop_down": False},
        {"upright": False},
        {"resize": [36, 36]},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    folder = save(tmp_path / "model", "deit", size={"height": 35, "width": 35})
    monkeypatch.setattr(_preprocessor, "see_that_it_prepares", lambda *_: None)
    monkeypatch.setattr(_preprocessor, "settings", other(**changes))
    with pytest.raises(GateError, match="item"):
        prepared(folder, tmp_path)


def test_swapped_channels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(self: Any, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(pixel_values=image.flip(1)).logits
        return logits

    monkeypatch.setattr(_on_images.OnImages, "forward", swapped)
    with pytest.raises(GateError, match=r"output .* of the model"):
        prepared(save(tmp_path / "model", "vit"), tmp_path)


def test_permuted_labels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def permuted(module: torch.nn.Module, folder: Path, out: Path) -> dict[str, object]:
        found = brings(module, folder, out)
        names = json.loads((out / "labels.json").read_text())
        (out / "labels.json").write_text(json.dumps(names[::-1]))
        return found

    brings = _on_images.bring
    monkeypatch.setattr(_on_images, "bring", permuted)
    with pytest.raises(GateError, match="is answered with"):
        prepared(save(tmp_path / "model", "vit"), tmp_path)


def test_a_folder_that_is_right_is_compared(tmp_path: Path) -> None:
    found = prepared(save(tmp_path / "model", "vit"), tmp_path)
    assert [rung.name for rung in found.rungs] == ["untouched", "original"]
    assert found.rungs[0].samples == len(bodies())
    assert found.original.difference.max_abs_error < 1e-4


# -- What can't be said in settings is refused by name ---------------------------------------------


def says(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / "preprocessor_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return spoil


def without(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (without, BuildError, "has no image processor"),
        (says(do_flip_channel_order=True), UnsupportedError, "'do_flip_channel_order' of ViT"),
        (says(do_pad=True, pad_size={"height": 64, "width": 64}), UnsupportedError, "'pad_size'"),
        (says(size={"max_height": 32, "max_width": 32}), UnsupportedError, "'size' of ViT is"),
        (says(image_processor_type="PoolFormerImageProcessor"), UnsupportedError, "of its own"),
    ],
)
def test_what_no_setting_says_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], kind: type[BuildError], words: str
) -> None:
    folder = save(tmp_path / "model", "vit")
    spoil(folder)
    with pytest.raises(kind, match=words) as caught:
        handler_of(folder, tmp_path)
    assert caught.value.hint


def test_a_regression_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", "vit", said={"problem_type": "regression"})
    with pytest.raises(UnsupportedError, match="is a regression"):
        handler_of(folder, tmp_path)


def test_the_processor_is_tried_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "model", "vit")
    monkeypatch.setattr(_preprocessor, "settings", other(interpolation="box"))
    with pytest.raises(UnsupportedError, match="an image of 97 by 61 pixels is prepared otherwise"):
        handler_of(folder, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sizes_of_published_checkpoints_are_prepared_as_they_say(
    tmp_path: Path, family: str
) -> None:
    """With what a processor takes by default: 224, 384, 346 and so on."""
    import transformers

    prepares = FAMILIES[family][2]
    kind = getattr(transformers, f"{prepares}ImageProcessorPil")
    kind().save_pretrained(tmp_path)
    assert _preprocessor.bring(tmp_path)["upright"] is True
