"""What tests of timm's and torchvision's models share: recipes, archives, and the library's own."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.original import Prepared, prepare
from marsmith.recipe import reading
from tests.support.vision_folders import bodies

EVALUATION = {"data": "tests.support.vision_folders:bodies"}

Transform = Callable[[Image.Image], torch.Tensor]


def recipe(source: Mapping[str, object], **more: object) -> dict[str, object]:
    return {
        "name": "m", "task": "image_classification", "source": dict(source),
        "evaluation": EVALUATION, **more,
    }  # fmt: skip


def prepared(source: Mapping[str, object], work: Path, **more: object) -> Prepared:
    """The first rungs of a build."""
    (work / "work").mkdir()
    read = reading.load(recipe(source, **more))
    return prepare(read, work, work / "work", lambda line: None)


def logits(model: torch.nn.Module, transform: Transform) -> list[torch.Tensor]:
    """What the library's own says to each of the bodies, as its documentation asks it."""
    images = [Image.open(io.BytesIO(body)).convert("RGB") for body in bodies()]
    with torch.inference_mode():
        return [model.eval()(transform(image)[None])[0] for image in images]


def served(source: Mapping[str, object], work: Path, **more: object) -> list[Any]:
    """What the archive of a model answers to each of the bodies, where no library is there."""
    report = build(recipe(source, **more), work / "store")
    assert report is not None
    assert report.ladder[0].name == "untouched"
    assert report.ladder[0].samples == len(bodies())
    for name in ("timm", "torchvision", "transformers"):
        (blocked := work / "blocked" / name).mkdir(parents=True)
        (blocked / "__init__.py").write_text("raise ImportError('it is not installed here')\n")
    alone = {"PYTHONPATH": str(work / "blocked")}
    with Harness(work / "store" / "m.mar", batch_size=8, env=alone) as harness:
        found = harness.predict([Request.raw(body) for body in bodies()[:8]])
        found += harness.predict([Request.raw(body) for body in bodies()[8:]])
    assert all(response.status == 200 for response in found), [each.body for each in found]
    return [response.json() for response in found]


def check(
    answers: Sequence[Mapping[str, float]], own: list[torch.Tensor], names: list[str]
) -> None:
    """Scores must be the library's, and the likeliest label, too."""
    scores = [each.softmax(dim=0) for each in own]
    spread = torch.stack(scores).amax(dim=0) - torch.stack(scores).amin(dim=0)
    assert spread.max() > 0.1  # another preparation would be noticed
    for answer, wanted in zip(answers, scores, strict=True):
        by_name = dict(zip(names, wanted.tolist(), strict=True))
        assert answer == pytest.approx({label: by_name[label] for label in answer}, abs=1e-4)
        assert next(iter(answer)) == names[int(wanted.argmax())]
