"""torchvision's classifiers answer as its own transforms and model do; where it is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from marsmith.cache import Cache
from marsmith.errors import BuildError, GateError, RecipeError, UnsupportedError
from marsmith.recipe import reading
from marsmith.sources import _image_models
from marsmith.sources import torchvision as source
from marsmith.sources.heads import _on_images, _preprocessor
from marsmith.sources.torchvision import Torchvision
from tests.support.library_models import check, logits, prepared, served
from tests.support.torchvision_operators import library
from tests.support.vision_folders import spread

PRESET: dict[str, Any] = {
    "resize_size": [232], "crop_size": [224], "interpolation": "bilinear",
    "mean": [0.485, 0.456, 0.406], "std": (0.229, 0.224, 0.225),
}  # fmt: skip
FAMILIES = {
    "resnet18": "IMAGENET1K_V1",
    "mobilenet_v3_small": "IMAGENET1K_V1",
    "efficientnet_b0": "IMAGENET1K_V1",  # bicubic
}


# -- A preset as settings --------------------------------------------------------------------------


def test_a_preset_becomes_settings() -> None:
    assert source.settings(PRESET, "m") == {
        "upright": False, "resize": 232, "interpolation": "bilinear", "crop": [224, 224],
        "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    found = source.settings({**PRESET, "resize_size": [256, 240], "crop_size": [224, 200]}, "m")
    assert (found["resize"], found["crop"]) == ([256, 240], [224, 200])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"interpolation": "nearest-exact"}, "'interpolation' is 'nearest-exact'"),
        ({"resize_size": [200]}, r"'crop_size' \[224\] is larger than 'resize_size' \[200\]"),
    ],
)
def test_what_no_setting_says_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UnsupportedError, match=f"m: {words}") as caught:
        source.settings({**PRESET, **changes}, "m")
    assert "source.factory" in caught.value.hint


@pytest.mark.parametrize("name", ["weights", "pretrained", "weights_backbone"])
def test_what_downloads_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="nothing is downloaded"):
        Torchvision(torchvision="resnet18", arguments={name: "DEFAULT"})


def test_another_task_is_refused() -> None:
    said = {"name": "m", "task": "image_embedding", "source": {"torchvision": "resnet18"}}
    with pytest.raises(RecipeError, match="models of torchvision are for image_classification"):
        reading.load(said)


def test_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="torchvision is not installed") as caught:
        Torchvision(torchvision="resnet18").load(Cache(tmp_path), lambda line: None)
    assert caught.value.hint == "pip install 'marsmith[torchvision]'"


# -- The real ones ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torchvision() -> Any:
    return library("torchvision")


def saved(torchvision: Any, file: Path, name: str, **arguments: object) -> torch.nn.Module:
    """A classifier whose weights are far enough from each other that inputs matter."""
    torch.manual_seed(0)
    model: torch.nn.Module = torchvision.models.get_model(name, **arguments).eval()
    spread(model, "x")
    save_file(model.state_dict(), file)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_an_archive_answers_as_torchvision_does(
    tmp_path: Path, torchvision: Any, name: str
) -> None:
    file = tmp_path / "w.safetensors"
    model = saved(torchvision, file, name)
    weights = torchvision.models.get_model_weights(name)[FAMILIES[name]]
    said = {"torchvision": name, "weights": FAMILIES[name], "checkpoint": str(file)}
    names = _on_images.told_apart(weights.meta["categories"])
    check(served(said, tmp_path), logits(model, weights.transforms()), names)


@pytest.mark.slow
def test_what_was_trained_on_from_weights_has_classes_of_its_own(
    tmp_path: Path, torchvision: Any
) -> None:
    file = tmp_path / "w.safetensors"
    model = saved(torchvision, file, "resnet18", num_classes=5)
    said = {
        "torchvision": "resnet18", "weights": "ResNet18_Weights.DEFAULT", "checkpoint": str(file),
        "arguments": {"num_classes": 5},
    }  # fmt: skip
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    numbers = [str(number) for number in range(5)]
    check(served(said, tmp_path), logits(model, transform), numbers)


whole = source.settings


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"mean": [0.48, 0.46, 0.41]}, {"interpolation": "bicubic"}, {"resize": [256, 256]}],
    ids=str,
)
def test_a_wrong_setting_is_refused(
    tmp_path: Path, torchvision: Any, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    saved(torchvision, tmp_path / "w.safetensors", "resnet18")
    said = {
        "torchvision": "resnet18", "weights": "DEFAULT",
        "checkpoint": str(tmp_path / "w.safetensors"),
    }  # fmt: skip
    monkeypatch.setattr(source, "settings", lambda *given: {**whole(*given), **changes})
    with pytest.raises(UnsupportedError, match="otherwise than torchvision's own transform"):
        prepared(said, tmp_path)
    monkeypatch.setattr(_preprocessor, "see_that_it_prepares", lambda *_: None)
    (tmp_path / "again").mkdir()
    with pytest.raises(GateError, match="item"):
        prepared(said, tmp_path / "again")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"torchvision": "resnet19"}, "has no classifier 'resnet19'"),
        ({"torchvision": "fcn_resnet50"}, "is not for image_classification"),
        (
            {"torchvision": "resnet18", "weights": "IMAGENET1K_V3"},
            "'IMAGENET1K_V3' is not allowed in 'weights' of resnet18; did you mean 'IMAGENET1K_V",
        ),
        ({"torchvision": "resnet18", "arguments": {"num_clases": 5}}, "num_clases"),
        ({"torchvision": "resnet18", "checkpoint": "w.safetensors"}, r"conv1\.weight.*is missing"),
    ],
)
def test_what_does_not_fit_is_said(
    tmp_path: Path, torchvision: Any, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any],
    words: str,
) -> None:  # fmt: skip
    save_file({"conv0.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    monkeypatch.chdir(tmp_path)
    found = reading.load({"name": "m", "task": "image_classification", "source": said}).source
    with pytest.raises((RecipeError, BuildError), match=words):
        found.load(Cache(tmp_path), lambda line: None)


@pytest.mark.slow
def test_without_weights_nothing_is_known_of_images(tmp_path: Path, torchvision: Any) -> None:
    found = Torchvision(torchvision="resnet18", arguments={"num_classes": 5})
    module = found.load(Cache(tmp_path), lambda line: None)
    assert found.bring(module, tmp_path, {}) == {}
    assert found.untouched([], {}, lambda line: None) is None


def sizes(module: torch.nn.Module) -> dict[str, torch.Size]:
    """Of all weights but those of heads for training, which torchvision may take off again."""
    state = module.state_dict().items()
    return {name: tensor.shape for name, tensor in state if "aux" not in name.lower()}


@pytest.mark.slow
def test_every_classifier_is_what_torchvision_makes_for_its_weights(
    torchvision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all sizes, on torch's device without memory; and each way to prepare images."""
    models, ways = torchvision.models, set()
    # Only what is read and loaded is left out.
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda *_, **__: {})
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
    for name in models.list_models(models):
        for weights in models.get_model_weights(name):
            said = Torchvision(torchvision=name, weights=weights.name)
            # RegNets compute their sizes with tensors, which are empty there.
            if not name.startswith("regnet"):
                with torch.device("meta"), _image_models.quiet():
                    found = said.make(torchvision, lambda line: None)
                    wanted = models.get_model(name, weights=weights)
                assert sizes(found) == sizes(wanted), name
                for setting in ("transform_input", "image_size"):
                    assert getattr(found, setting, None) == getattr(wanted, setting, None), name
            preparation = said.preparation(torchvision, torch.nn.Module())
            assert isinstance(preparation, _image_models.Preparation)
            if (way := repr(preparation.settings)) not in ways:
                ways.add(way)
                _preprocessor.see_that_it_prepares(preparation, preparation.settings, name, "its")
    assert len(ways) > 10
