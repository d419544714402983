"""Folders of models without a task: by their tensors they answer what transformers' own do."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from marsmith.cache import Cache
from marsmith.errors import BuildError, GateError, UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.original import prepare
from marsmith.recipe import reading
from marsmith.sources.heads import tensors
from marsmith.sources.huggingface import HuggingFace
from pages import blocks
from tests.support.vision_folders import OTHERS, bodies, save, without_transformers

KINDS = dict.fromkeys(OTHERS, "ForDepthEstimation") | {"swin2sr": "ForImageSuperResolution"}
SHAPES = {
    "glpn": [3, 480, 640], "dpt": [3, 32, 32], "depth_anything": [3, 56, 70],
    "swin2sr": [3, 488, 648],
}  # fmt: skip
SMALL = {"glpn": [3, 64, 96], "swin2sr": [3, 24, 40]}
DEPTHS = [name for name in OTHERS if name != "swin2sr"]


def loaded(folder: Path, work: Path) -> tuple[torch.nn.Module, Any]:
    source = HuggingFace(huggingface=folder, head="tensors")
    module = source.load(Cache(work), lambda line: None)
    return module, source.bring(module, work, {})


def pictures() -> list[Image.Image]:
    return [Image.open(io.BytesIO(each)).convert("RGB").resize((96, 64)) for each in bodies()[:3]]


def recipe(family: str, folder: Path) -> dict[str, Any]:
    said = yaml.safe_load(blocks.one("depth"))
    assert said["source"] == {"huggingface": "my_folder"}
    found: dict[str, Any] = {**said, "source": {"huggingface": str(folder)}}
    if family in SMALL:
        found["handler"] = {"inputs": {"pixel_values": {"shape": SMALL[family]}}}
    return found


@pytest.mark.parametrize("family", OTHERS)
def test_it_takes_what_its_processor_makes(tmp_path: Path, family: str) -> None:
    module, said = loaded(save(tmp_path / "model", family, KINDS[family]), tmp_path)
    assert said == {"inputs": {"pixel_values": {"datatype": "FP32", "shape": SHAPES[family]}}}
    assert isinstance(module, tensors.ByName)


@pytest.mark.parametrize("family", DEPTHS)
def test_a_map_of_depth_is_as_in_the_pipeline(tmp_path: Path, family: str) -> None:
    from transformers import pipeline

    folder = save(tmp_path / "model", family, KINDS[family])
    module, _ = loaded(folder, tmp_path)
    whole: Any = pipeline("depth-estimation", model=str(folder))
    for picture in pictures():
        wanted = whole(picture)["predicted_depth"]
        assert wanted.std() > 1e-2
        with torch.inference_mode():
            found = module(**whole.image_processor(images=picture, return_tensors="pt"))
        maps = whole.image_processor.post_process_depth_estimation(
            type("Outputs", (), found), [picture.size[::-1]]
        )
        error = (maps[0]["predicted_depth"] - wanted).abs().max()
        assert error <= 1e-4 * wanted.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("family", OTHERS)
def test_its_archive_answers_as_transformers_does(tmp_path: Path, family: str) -> None:
    import transformers

    folder = save(tmp_path / "model", family, KINDS[family])
    report = build(recipe(family, folder), tmp_path / "store")
    assert report is not None
    assert report.ladder[0].name == "untouched"
    kind = getattr(transformers, f"{OTHERS[family][0]}{KINDS[family]}")
    model = kind.from_pretrained(folder).eval()
    shape = SMALL.get(family, SHAPES[family])
    given = np.random.default_rng(2).normal(size=(3, *shape)).astype(np.float32)
    with torch.inference_mode():
        wanted = model(pixel_values=torch.from_numpy(given))
    (name,) = [each for each in wanted if isinstance(wanted[each], torch.Tensor)]
    requests = []
    for each in given:
        np.save(file := io.BytesIO(), each)
        requests.append(Request.raw(file.getvalue(), "application/x-npy"))
    requests.append(Request.json({"instances": given.tolist()}))
    alone = without_transformers(tmp_path)
    with Harness(tmp_path / "store" / "depth.mar", batch_size=4, env=alone) as harness:
        *single, many = [response.json() for response in harness.predict(requests)]
        single += [harness.predict([request])[0].json() for request in requests[:3]]
    for answers in (single[:3], single[3:], many["predictions"]):
        found = np.array([each[name] for each in answers])
        assert found.std() > 1e-2
        assert np.abs(found - wanted[name].numpy()).max() <= 1e-4 * np.abs(found).max()


def prepared(work: Path, family: str) -> list[str]:
    folder = save(work / "model", family, KINDS[family])
    (work / "work").mkdir()
    given = reading.load(recipe(family, folder))
    return [each.name for each in prepare(given, work, work / "work", lambda line: None).rungs]


def test_a_folder_that_is_right_is_compared(tmp_path: Path) -> None:
    assert prepared(tmp_path, "dpt") == ["untouched", "original"]


def test_another_output_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tensors.ByName.forward

    def turned(self: tensors.ByName, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        return whole(self, pixel_values.flip(1))  # BGR

    monkeypatch.setattr(tensors.ByName, "forward", turned)
    with pytest.raises(GateError, match="output 'predicted_depth' of the model"):
        prepared(tmp_path, "dpt")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"architectures": ["BertForMaskedLM"], "model_type": "bert"}, "which takes input_ids"),
        ({"architectures": ["OurModel"]}, "is a OurModel, which transformers .* doesn't have"),
        ({"architectures": ["pipeline"]}, "is a pipeline, which transformers .* doesn't have"),
        ({"architectures": None}, "doesn't name its model's class"),
    ],
)
def test_what_is_no_model_of_images_is_refused(
    tmp_path: Path, said: dict[str, Any], why: str
) -> None:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **said}))
    with pytest.raises((BuildError, UnsupportedError), match=why):
        loaded(tmp_path, tmp_path)


def test_a_folder_without_a_processor_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", "dpt", KINDS["dpt"])
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BuildError, match="has no image processor"):
        loaded(folder, tmp_path)


def test_another_task_says_that_there_is_this_one(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", "dpt", KINDS["dpt"])
    source = HuggingFace(huggingface=folder, head="image_classification")
    with pytest.raises(BuildError, match="can't be loaded") as caught:
        source.load(Cache(tmp_path), lambda line: None)
    assert caught.value.hint == "it is a model for: task: tensors"
