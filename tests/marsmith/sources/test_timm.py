"""timm's models answer as timm's own transform and model do; the real ones where timm is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from marsmith.cache import Cache
from marsmith.cli.draft import write
from marsmith.errors import BuildError, GateError, MarsmithError, RecipeError, UnsupportedError
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.sources import timm as source
from marsmith.sources._image_models import Preparation
from marsmith.sources.heads import _preprocessor
from marsmith.sources.timm import Timm
from tests.support.library_models import check, logits, prepared, served
from tests.support.torchvision_operators import library
from tests.support.vision_folders import LABELS, bodies, spread

CONFIG: dict[str, Any] = {
    "input_size": (3, 224, 224), "interpolation": "bicubic", "crop_pct": 0.875,
    "crop_mode": "center", "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.5, 0.5),
}  # fmt: skip
NAMES = ["cat", "dog", "bird", "crane", "crane (4)"]
SMALL: dict[str, object] = {"num_classes": len(LABELS)}
# Each with its own way to prepare images, and small.
FAMILIES: dict[str, tuple[str, dict[str, object]]] = {
    "resnet": ("test_resnet", {}),
    "mobilenetv3": ("mobilenetv3_small_050", {}),
    "efficientnet": ("tf_efficientnet_b0", {}),
    "vit": ("vit_tiny_patch16_224", {"depth": 2}),
    "convnext": ("convnext_atto", {"depths": [1, 1, 2, 1]}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 24, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 4, 8]},
    ),
    "squashed": ("convnext_tiny.in12k_ft_in1k_384", {"depths": [1, 1, 1, 1], "dims": [8] * 4}),
}


# -- A data config as settings ---------------------------------------------------------------------


def test_a_data_config_becomes_settings() -> None:
    assert source.settings(CONFIG, "m") == {
        "upright": False, "resize": 256, "interpolation": "bicubic", "crop": [224, 224],
        "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 0.5],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"crop_pct": 0.9}, {"resize": 248}),  # 248.9
        ({"crop_pct": 1.0}, {"resize": 224}),
        ({"crop_mode": "squash", "crop_pct": 1.0}, {"resize": [224, 224], "crop": [224, 224]}),
        (
            {"crop_mode": "squash", "input_size": (3, 96, 128)},
            {"resize": [109, 146], "crop": [96, 128]},
        ),
        ({"input_size": (1, 96, 96), "mean": (0.5,)}, {"greyscale": True, "mean": [0.5]}),
    ],
    ids=str,
)
def test_sizes_are_rounded_as_timm_does(
    changes: dict[str, object], wanted: dict[str, object]
) -> None:
    assert source.settings({**CONFIG, **changes}, "m").items() >= wanted.items()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crop_mode": "border"}, "'crop_mode' is 'border' for 224 by 224"),
        ({"input_size": (3, 96, 128)}, "'crop_mode' is 'center' for 96 by 128"),
        ({"crop_pct": 1.1}, "'crop_pct' is 1.1"),
        ({"interpolation": "random"}, "'interpolation' is 'random'"),
        ({"input_size": (4, 224, 224)}, "4 channels"),
        ({"crop_border_pixels": 4}, "'crop_border_pixels' is not known"),
    ],
    ids=str,
)
def test_what_no_setting_says_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UnsupportedError, match=f"m: {words}") as caught:
        source.settings({**CONFIG, **changes}, "m")
    assert "source.factory" in caught.value.hint


def test_labels_are_a_list_or_numbered() -> None:
    assert source.labels([*LABELS.values()], 5, "m") == NAMES
    assert source.labels({"1": "dog", "0": "cat"}, 2, "m") == ["cat", "dog"]
    assert source.labels(["cat"], 0, "m") == []
    for said in (["cat"], {"0": "cat", "2": "dog"}, "cat, dog"):
        with pytest.raises(BuildError, match=r"'label_names' has .* for 2 classes"):
            source.labels(said, 2, "m")


# -- A folder, before timm reads it ----------------------------------------------------------------


def written(folder: Path, *files: str, **config: object) -> Path:
    folder.mkdir()
    for name in files:
        (folder / name).write_bytes(b"of no use")
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("files", "config", "words", "hint"),
    [
        ((), {}, "has no config.json", "save_for_hf"),
        ((), {"model_type": "vit"}, "has no 'architecture'", "huggingface"),
        ((), {"architecture": "resnet18"}, "has no model.safetensors", "'checkpoint'"),
        (
            ("pytorch_model.bin",), {"architecture": "resnet18"}, "are a pickle",
            "model/pytorch_model.bin",
        ),
    ],
)  # fmt: skip
def test_a_folder_that_lacks_something_says_what(
    tmp_path: Path, files: tuple[str, ...], config: dict[str, object], words: str, hint: str
) -> None:
    folder = written(tmp_path / "model", *files, **config)
    with pytest.raises(BuildError, match=words) as caught:
        source.check(folder)
    assert hint in caught.value.hint


def test_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="there is no folder") as caught:
        source.check(tmp_path / "none")
    assert "nothing is downloaded" in caught.value.hint


@pytest.mark.parametrize(
    ("said", "wanted"), [("model", Path), ("resnet18", str), ("none/model", Path), ("./m", Path)]
)
def test_a_folder_is_what_is_there_or_has_a_slash(
    tmp_path: Path, said: str, wanted: type[object]
) -> None:
    written(tmp_path / "model")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"name: m\ntask: image_classification\nsource: {{timm: {said}}}\n")
    found = reading.load(recipe).source
    assert isinstance(found, Timm)
    assert isinstance(found.timm, wanted)
    assert found.timm == (tmp_path / said if wanted is Path else said)
    assert found.files() == ([found.timm] if wanted is Path else [])


def test_what_downloads_is_refused() -> None:
    with pytest.raises(ValidationError, match="nothing is downloaded"):
        Timm(timm="resnet18", arguments={"pretrained": True})


def test_another_task_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"models of timm are for .*, not 'object_detection'"):
        reading.load({"name": "m", "task": "object_detection", "source": {"timm": "resnet18"}})


def test_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="timm is not installed") as caught:
        Timm(timm="resnet18").load(Cache(tmp_path), lambda line: None)
    assert caught.value.hint == "pip install 'marsmith[timm]'"


def test_a_folder_of_timms_is_seen(tmp_path: Path) -> None:
    folder = written(tmp_path / "model", "model.safetensors", architecture="resnet18")
    recipe = write(folder, "image_classification", None, tmp_path / "m.yaml")
    found = reading.load(recipe).source
    assert isinstance(found, Timm)
    assert found.timm == folder


# -- The real ones ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def timm() -> Any:
    return library("timm")


def made(timm: Any, family: str, **arguments: object) -> torch.nn.Module:
    """A family's model, whose weights are far enough from each other that inputs matter."""
    torch.manual_seed(0)
    name, more = FAMILIES[family]
    model: torch.nn.Module = timm.create_model(name, **{**SMALL, **more, **arguments}).eval()
    if "in_chans" not in arguments:
        spread(model, "x")
    return model


def saved(timm: Any, folder: Path, family: str = "resnet") -> Path:
    """As timm saves a model for the hub."""
    names = {"label_names": [*LABELS.values()]}
    timm.models.save_for_hf(made(timm, family), folder, names, safe_serialization=True)
    return folder


def own(timm: Any, folder: Path, **arguments: object) -> list[torch.Tensor]:
    """What timm makes of a folder and the bodies."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, **arguments)
    config = timm.data.resolve_model_data_config(model)
    return logits(model, timm.data.create_transform(**config, is_training=False))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_an_archive_answers_as_timm_does(tmp_path: Path, timm: Any, family: str) -> None:
    folder = saved(timm, tmp_path / "model", family)
    check(served({"timm": str(folder)}, tmp_path), own(timm, folder), NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mobilenetv3", "vit"])
def test_vectors_are_what_timm_pools(tmp_path: Path, timm: Any, family: str) -> None:
    folder = saved(timm, tmp_path / "model", family)
    found = served({"timm": str(folder)}, tmp_path, task="image_embedding")
    wanted = torch.nn.functional.normalize(torch.stack(own(timm, folder, num_classes=0)))
    vectors = torch.tensor([answer["embedding"] for answer in found])
    torch.testing.assert_close(vectors, wanted, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_name_and_a_checkpoint_are_a_model(tmp_path: Path, timm: Any) -> None:
    model = made(timm, "efficientnet")
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "last.pth")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    said = {
        "timm": "tf_efficientnet_b0", "arguments": SMALL, "checkpoint": str(tmp_path / "last.pth")
    }  # fmt: skip
    answers = served(said, tmp_path)
    check(answers, logits(model, transform), [str(number) for number in range(5)])


@pytest.mark.slow
def test_a_thousand_classes_are_imagenets(tmp_path: Path, timm: Any) -> None:
    found = Timm(timm="test_resnet")
    module = found.load(Cache(tmp_path), lambda line: None)
    assert found.random()
    (out := tmp_path / "out").mkdir()
    assert found.bring(module, out, {})["labels"] == "labels.json"
    names = json.loads((out / "labels.json").read_text())
    assert names[:2] == timm.data.ImageNetInfo().label_descriptions()[:2]
    assert len(set(names)) == 1000


@pytest.mark.slow
def test_a_folder_needs_no_recipe_of_ones_own(tmp_path: Path, timm: Any) -> None:
    folder = saved(timm, tmp_path / "model")
    report = build(write(folder, "image_classification", None, tmp_path / "m.yaml"), tmp_path / "s")
    assert report is not None
    assert report.ladder[0].name == "untouched"
    assert report.ladder[0].by == "timm, with its own transform"


@pytest.mark.slow
def test_a_folder_of_grey_images_takes_them(tmp_path: Path, timm: Any) -> None:
    model = made(timm, "vit", in_chans=1)
    timm.models.save_for_hf(model, tmp_path / "model", safe_serialization=True)
    found = prepared({"timm": str(tmp_path / "model")}, tmp_path)
    assert [rung.name for rung in found.rungs] == ["untouched", "original"]
    assert found.rungs[0].samples == len(bodies())


whole = source.settings


def other(**changes: object) -> Callable[..., dict[str, object]]:
    return lambda said, name: {**whole(said, name), **changes}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"mean": [0.48, 0.46, 0.41]},
        {"std": [0.5, 0.5, 0.4]},
        {"interpolation": "bicubic"},
        {"crop_down": True},
        {"upright": True},
        {"resize": [168, 168]},
        {"resize": 169},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused(
    tmp_path: Path, timm: Any, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    folder = saved(timm, tmp_path / "model")
    monkeypatch.setattr(_preprocessor, "see_that_it_prepares", lambda *_: None)
    monkeypatch.setattr(source, "settings", other(**changes))
    with pytest.raises(GateError, match="item"):
        prepared({"timm": str(folder)}, tmp_path)


@pytest.mark.slow
def test_the_transform_is_tried_before_anything_is_built(
    tmp_path: Path, timm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(timm, tmp_path / "model")
    monkeypatch.setattr(source, "settings", other(interpolation="box"))
    with pytest.raises(UnsupportedError, match="97 by 61 pixels is prepared otherwise than timm"):
        prepared({"timm": str(folder)}, tmp_path)


@pytest.mark.slow
def test_a_setting_of_the_recipe_wins(tmp_path: Path, timm: Any) -> None:
    folder = saved(timm, tmp_path / "model")
    found = prepared({"timm": str(folder)}, tmp_path, handler={"upright": True, "crop": 96})
    assert [rung.name for rung in found.rungs] == ["original"]  # nobody else prepares so
    assert found.recipe.handler["crop"] == 96


def without(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        save_file({k: v for k, v in state.items() if k != name}, folder / "model.safetensors")

    return spoil


def says(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return spoil


def damaged(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "arguments", "words"),
    [
        (without("layer1.0.conv1.weight"), {}, r"layer1\.0\.conv1\.weight .* is missing"),
        (says(architecture="resnet19"), {}, "has no model 'resnet19'"),
        (damaged, {}, "is not safetensors"),
        (says(label_names=["cat"]), {}, "'label_names' has 1 names for 5 classes"),
        (says(), {"num_classes": 7}, "there are no weights for fc.weight"),
        (says(), {"num_clases": 7}, "num_clases"),
    ],
)
def test_what_does_not_fit_is_said(
    tmp_path: Path, timm: Any, spoil: Callable[[Path], None], arguments: Mapping[str, object],
    words: str,
) -> None:  # fmt: skip
    folder = saved(timm, tmp_path / "model")
    spoil(folder)
    with pytest.raises(MarsmithError, match=words):
        prepared({"timm": str(folder), "arguments": dict(arguments)}, tmp_path)


@pytest.mark.slow
def test_an_unknown_name_has_its_nearest(tmp_path: Path, timm: Any) -> None:
    with pytest.raises(RecipeError, match="has no model 'resnet19'") as caught:
        Timm(timm="resnet19").load(Cache(tmp_path), lambda line: None)
    assert "resnet18" in caught.value.hint


@pytest.mark.slow
def test_weights_of_another_model_are_refused(tmp_path: Path, timm: Any) -> None:
    folder = saved(timm, tmp_path / "model")
    shutil.copy(folder / "model.safetensors", tmp_path / "w.safetensors")
    found = Timm(timm="test_vit", arguments=SMALL, checkpoint=tmp_path / "w.safetensors")
    with pytest.raises(BuildError, match="don't fit the model"):
        found.load(Cache(tmp_path), lambda line: None)


@pytest.mark.slow
def test_every_way_that_timm_prepares_images_is_right_or_refused(timm: Any) -> None:
    """Of all weights that timm knows; each way once."""
    registry = timm.models._registry._model_pretrained_cfgs
    ways: dict[str, tuple[str, dict[str, Any]]] = {}
    for name, said in registry.items():
        config = timm.data.resolve_data_config(pretrained_cfg=said.to_dict())
        ways.setdefault(repr(sorted(config.items())), (name, config))
    refused = []
    for name, config in ways.values():
        transform = timm.data.create_transform(**config, is_training=False)
        try:
            found = source.settings(config, name)
        except UnsupportedError:
            refused.append(name)
            continue
        prepares = Preparation(found, transform)
        _preprocessor.see_that_it_prepares(prepares, found, name, "timm")
    assert len(ways) > 50
    assert len(refused) < len(ways) / 20, refused
