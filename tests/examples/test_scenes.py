"""Scenes are what they are said to be; models learn from them what the recipes promise."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from examples import scenes
from examples.scene_models import INPUT, STRIDE, Detector, Segmenter
from handlers.images.run_lengths import decode
from handlers.labels import read
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def held_out() -> list[scenes.Scene]:
    return scenes.scenes(scenes.HELD_OUT, held_out=True)


def test_masks_lie_within_boxes_and_boxes_within_scenes(held_out: list[scenes.Scene]) -> None:
    for scene in held_out:
        height, width = scene.pixels.shape
        assert scene.mask.shape == scene.pixels.shape
        assert 1 <= len(scene.digits) == len(scene.boxes) <= scenes.MOST_DIGITS
        boxed = np.zeros(scene.mask.shape, bool)
        for digit, (left, top, right, bottom) in zip(scene.digits, scene.boxes, strict=True):
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            boxed[top:bottom, left:right] = True
            assert (scene.mask[top:bottom, left:right] == digit + 1).any()
        assert not scene.mask[~boxed].any()


def test_scenes_differ_and_are_always_the_same(held_out: list[scenes.Scene]) -> None:
    again = scenes.scenes(5, held_out=True)
    assert all((a.pixels == b.pixels).all() for a, b in zip(again, held_out, strict=False))
    assert len({scene.pixels.shape for scene in held_out}) == len(scenes.SIZES)
    assert {digit for scene in held_out for digit in scene.digits} == set(range(10))
    assert sum(len(scene.digits) for scene in held_out) > 200
    training = scenes.scenes(5, held_out=False)
    assert not any((a.pixels.size, a.pixels.tobytes()) == (b.pixels.size, b.pixels.tobytes())
                   for a in training for b in held_out)  # fmt: skip


def test_what_is_expected_is_what_is_to_be_seen(held_out: list[scenes.Scene]) -> None:
    pairs = zip(held_out, scenes.to_find(), scenes.to_outline(), strict=True)
    for scene, (image, finds), (same, runs) in pairs:
        assert image == same
        assert np.array_equal(np.array(Image.open(io.BytesIO(image))), scene.pixels)
        assert [find["box"] for find in finds] == scene.boxes
        assert [int(find["label"]) for find in finds] == scene.digits
        mask = decode(runs["classes"], runs["lengths"])
        assert np.array_equal(mask, scene.mask.flatten())
        json.dumps([finds, runs])


def test_models_answer_what_their_recipes_say(tmp_path: Path) -> None:
    batch = torch.rand(2, 1, *INPUT)
    with torch.inference_mode():
        boxes, logits = Detector().eval()(batch)
        classes = Segmenter().eval()(batch)
    cells = INPUT[0] // STRIDE * INPUT[1] // STRIDE
    assert (boxes.shape, logits.shape) == ((2, cells, 4), (2, cells, 10))
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert classes.shape == (2, 11, INPUT[0] // 2, INPUT[1] // 2)
    scenes.write_labels(Segmenter(), tmp_path)
    assert read(tmp_path / "labels.json") == ["ground", *"0123456789"]


@pytest.mark.slow  # trains: a minute or two
@pytest.mark.parametrize("name", ["scenes_detection", "scenes_segmentation"])
def test_the_recipe_keeps_its_promise(store: Path, name: str) -> None:
    build(reading.load(ROOT / "archiver_configs" / f"{name}.yaml"), store)
    assert (store / f"{name}.mar").is_file()
