"""Folders of transformers' detectors: built with a short recipe, they find what it finds."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.object_detection import ObjectDetection
from marsmith.cache import Cache
from marsmith.errors import GateError, UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.original import prepare
from marsmith.recipe import reading
from marsmith.sources.heads import _on_images, _preprocessor, object_detection
from marsmith.sources.huggingface import HuggingFace
from tests.support.in_batches import answers_in_batches
from tests.support.vision_folders import DETECTORS, bodies, save, without_transformers

Find = tuple[str, float, list[float]]


def finds_of_transformers(folder: Path) -> list[list[Find]]:
    """Label, score and box of each find, of the pipeline; boxes are those that it cuts to int."""
    from transformers import pipeline
    from transformers.image_utils import load_image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detect: Any = pipeline("object-detection", model=str(folder))
    detect.model.config.id2label[4] = "crane (4)"
    exact: list[list[Find]] = []
    for body in bodies():
        image = load_image(Image.open(io.BytesIO(body)))
        found = detect(image)
        with torch.inference_mode():
            outputs = detect.model(**detect.image_processor(images=image, return_tensors="pt"))
        (best,) = detect.image_processor.post_process_object_detection(
            outputs, threshold=0.5, target_sizes=[image.size[::-1]]
        )
        assert [list(each["box"].values()) for each in found] == best["boxes"].int().tolist()
        edges = torch.tensor(image.size * 2, dtype=torch.float32)
        boxes = best["boxes"].clamp(min=torch.zeros(4), max=edges).tolist()
        pairs = zip(found, boxes, strict=True)
        exact.append([(each["label"], each["score"], box) for each, box in pairs])
    assert sum(map(len, exact)) > 5
    return exact


def check(answers: list[list[dict[str, Any]]], folder: Path) -> None:
    for answer, wanted in zip(answers, finds_of_transformers(folder), strict=True):
        assert len(answer) == len(wanted)
        assert [each["score"] for each in answer] == pytest.approx(
            sorted((score for _, score, _ in wanted), reverse=True), abs=1e-4
        )
        for each in answer:  # scores may be nearly equal, so that their order says little
            assert any(
                each["label"] == label
                and each["score"] == pytest.approx(score, abs=1e-4)
                and each["box"] == pytest.approx(box, abs=0.01)
                for label, score, box in wanted
            )


def handler_of(folder: Path, work: Path) -> ObjectDetection:
    source = HuggingFace(huggingface=folder, head="object_detection")
    module = source.load(Cache(work), lambda line: None)
    (out := work / "out").mkdir()
    handler: ObjectDetection = tasks.find("object_detection")()
    handler.configure({"task": "object_detection", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    return handler


@pytest.mark.parametrize("family", DETECTORS)
def test_a_folder_finds_what_transformers_does(tmp_path: Path, family: str) -> None:
    folder = save(tmp_path / "model", family, "ForObjectDetection")
    handler = handler_of(folder, tmp_path)
    samples = [handler.decode(each, handler.default_options) for each in bodies()]
    check(answers_in_batches(handler, samples), folder)
    check(answers_in_batches(handler, samples, limit=1), folder)


@pytest.mark.slow
@pytest.mark.parametrize("family", DETECTORS)
def test_its_archive_does_too(tmp_path: Path, family: str) -> None:
    """Built from one size of image, it answers all."""
    folder = save(tmp_path / "model", family, "ForObjectDetection")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: x\ntask: object_detection\nsource: {{huggingface: {folder}}}\n")
    report = build(reading.load(recipe), tmp_path / "store")
    assert report is not None
    assert report.ladder[0].name == "untouched"
    alone = without_transformers(tmp_path)
    with Harness(tmp_path / "store" / "x.mar", batch_size=8, env=alone) as harness:
        found = harness.predict([Request.raw(body) for body in bodies()[:8]])
        found += harness.predict([Request.raw(body) for body in bodies()[8:]])
    assert all(response.status == 200 for response in found), [each.body for each in found]
    check([response.json() for response in found], folder)


whole = _preprocessor.settings


def blurred(processor: Any, folder: Path) -> dict[str, object]:
    return {**whole(processor, folder), "interpolation": "bicubic"}


def unbounded(processor: Any, folder: Path) -> dict[str, object]:
    return {k: v for k, v in whole(processor, folder).items() if k != "max_side"}


def reversed_labels(config: Any) -> list[str]:
    return ["crane (4)", "crane", "bird", "dog", "cat"]


def edges(self: Any, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    found = self.model(pixel_values=image)
    return found.logits, found.pred_boxes.roll(1, dims=-1)


def prepared(folder: Path, work: Path) -> list[str]:
    recipe = {
        "name": "m", "task": "object_detection", "source": {"huggingface": str(folder)},
        "evaluation": {"data": "tests.support.vision_folders:bodies"},
    }  # fmt: skip
    (work / "work").mkdir()
    found = prepare(reading.load(recipe), work, work / "work", lambda line: None)
    return [rung.name for rung in found.rungs]


@pytest.mark.parametrize("family", DETECTORS)
def test_a_folder_that_is_right_is_compared(tmp_path: Path, family: str) -> None:
    folder = save(tmp_path / "model", family, "ForObjectDetection")
    assert prepared(folder, tmp_path) == ["untouched", "original"]


@pytest.mark.parametrize(
    ("of", "name", "broken"),
    [
        (_preprocessor, "settings", blurred),
        (_preprocessor, "settings", unbounded),
        (object_detection.Detector, "forward", edges),
    ],
    ids=["another filter", "a side too long", "boxes of another form"],
)
def test_what_is_wrong_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: Any, name: str, broken: Callable[..., Any]
) -> None:
    monkeypatch.setattr(_preprocessor, "see_that_it_prepares", lambda *_: None)
    folder = save(tmp_path / "model", "detr", "ForObjectDetection")
    monkeypatch.setattr(of, name, broken)
    with pytest.raises(GateError, match="item"):
        prepared(folder, tmp_path)


def test_permuted_labels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def permuted(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_on_images, "labels", reversed_labels)
            return brings(module, folder, out)

    brings = _on_images.bring
    monkeypatch.setattr(_on_images, "bring", permuted)
    with pytest.raises(GateError, match="is answered with"):
        prepared(save(tmp_path / "model", "detr", "ForObjectDetection"), tmp_path)


class Other(torch.nn.Module):
    """A detector that is not known."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="conditional_detr")


def test_a_detector_of_another_type_is_refused_by_name(tmp_path: Path) -> None:
    model = Other()
    with pytest.raises(UnsupportedError, match="'conditional_detr'; those that are known are detr"):
        object_detection.wrap(model, tmp_path)


@pytest.mark.parametrize("kind", ["Detr", "Yolos", "RTDetr"])
def test_the_sizes_of_published_checkpoints_are_prepared_as_they_say(
    tmp_path: Path, kind: str
) -> None:
    """With what a processor takes by default: 800 and at most 1333, or 640 by 640."""
    import transformers

    getattr(transformers, f"{kind}ImageProcessorPil")().save_pretrained(tmp_path)
    assert _preprocessor.bring(tmp_path)["resize"] in (800, [640, 640])
