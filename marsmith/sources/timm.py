"""A model of timm: one of its names with a checkpoint, or a folder as timm saves one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import model_validator

from handlers.images.pixels import RESAMPLING
from marsmith.cache import Cache
from marsmith.errors import BuildError, RecipeError, UnsupportedError
from marsmith.sources import _checkpoints, _image_models
from marsmith.sources._image_models import Preparation
from marsmith.sources.heads import _on_images, _preprocessor, read_object

WEIGHTS = "model.safetensors"
PICKLES = ("pytorch_model.bin", "pytorch_model.pth", "model.pth")
DOWNLOADS = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")
KNOWN = {"input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode"}


class Timm(_image_models.ImageModel):
    """`timm` is a name of a model of timm's, or a folder with config.json and model.safetensors."""

    LIBRARY = "timm"
    TASKS = (_image_models.CLASSIFIES, "image_embedding")

    timm: Path | str
    """The name, or the folder: what is there, or has a slash in it, is a folder."""

    @model_validator(mode="after")
    def _without_downloads(self) -> Timm:
        self.refuse_downloads(*DOWNLOADS)
        return self

    def named(self) -> str:
        """The name, or the folder's."""
        return self.timm.name if isinstance(self.timm, Path) else self.timm

    def make(self, library: Any, say: Callable[[str], None]) -> torch.nn.Module:
        """Make the model; of a folder without a `checkpoint`, timm reads the weights, too."""
        if isinstance(self.timm, Path):
            config = check(self.timm, weights=self.checkpoint is None)
            _see_that_it_is_known(library, str(config["architecture"]))
            if self.checkpoint is not None:
                return self._of_folder(library, self.arguments, weights=False)
            say(f"load {self.timm.name} with timm")
            try:
                return self._of_folder(library, self.arguments, weights=True)
            except RecipeError:
                module = self._of_folder(library, self.arguments, weights=False)
                _checkpoints.load(module, self.timm / WEIGHTS, None, say)  # says what doesn't fit
                raise
        _see_that_it_is_known(library, self.timm)
        return self.called(library.create_model, self.arguments, model_name=self.timm)

    def load(self, cache: Cache, say: Callable[[str], None]) -> torch.nn.Module:
        """Make the model, and give it its weights: see `ImageModel.load`.

        Raises:
            BuildError: also, the folder has no weights for a part of the model.
        """
        module, missing = super().load(cache, say), self.random()
        if missing and isinstance(self.timm, Path):
            raise BuildError(
                f"{self.named()}: there are no weights for {missing[0]} ({len(missing)} such)",
                "the 'arguments' must make the model that the folder's weights are for",
            )
        return module

    def _of_folder(
        self, library: Any, arguments: Mapping[str, object], *, weights: bool
    ) -> torch.nn.Module:
        """The folder's model as timm itself makes it, and reads its weights from there alone."""
        name = f"local-dir:{Path(self.timm).absolute()}"
        return self.called(library.create_model, arguments, model_name=name, pretrained=weights)

    def finished(self, module: torch.nn.Module) -> torch.nn.Module:
        """Without its classifier, if vectors are wanted: what is pooled before it is the answer."""
        if self._task == "image_embedding":
            model: Any = module
            model.reset_classifier(0)
        return module

    def alone(self, library: Any) -> torch.nn.Module:
        """The model as timm makes it; of a folder with its weights, and as vectors want it."""
        if isinstance(self.timm, Path) and self.checkpoint is None:
            vectors = {"num_classes": 0} if self._task == "image_embedding" else {}
            return self._of_folder(library, {**self.arguments, **vectors}, weights=True).eval()
        return super().alone(library)

    def preparation(self, library: Any, module: torch.nn.Module) -> Preparation:
        """How timm prepares an image to evaluate the model, and the names that config.json has.

        Raises:
            BuildError: there are not as many names as classes.
            UnsupportedError: no setting says how.
        """
        config = library.data.resolve_input_data_config(module)
        return Preparation(
            settings(config, self.named()),
            library.data.create_transform(**config, is_training=False),
            self._labels(library, module),
        )

    def _labels(self, library: Any, module: Any) -> list[str]:
        said = read_object(self.timm / "config.json") if isinstance(self.timm, Path) else {}
        pretrained = said.get("pretrained_cfg")
        inner = pretrained if isinstance(pretrained, dict) else {}
        # It may be said in either place, and was called `labels` once.
        places = [(each, key) for key in ("label_names", "labels") for each in (said, inner)]
        found = next((each[key] for each, key in places if each.get(key)), None)
        if found is not None:
            return labels(found, module.num_classes, self.named())
        if subset := library.data.infer_imagenet_subset(module):
            return _on_images.told_apart(library.data.ImageNetInfo(subset).label_descriptions())
        return []


def check(folder: Path, *, weights: bool = True) -> Mapping[str, object]:
    """Check that a folder has a model of timm's; return its config.json.

    Args:
        folder: of the model.
        weights: they must be there, too.

    Raises:
        BuildError: something is missing, or the weights are a pickle.
    """
    if not folder.is_dir():
        raise BuildError(
            f"there is no folder {folder}",
            "bring the model, or name one of timm's: nothing is downloaded",
        )
    if not (folder / "config.json").is_file():
        raise BuildError(
            f"{folder} has no config.json: it is not a model of timm's",
            "timm.models.save_for_hf writes such a folder; a model that timm knows by the name of"
            " a folder here can't be meant",
        )
    config = read_object(folder / "config.json")
    if not isinstance(config.get("architecture"), str):
        raise BuildError(
            f"{folder / 'config.json'} has no 'architecture': it is not a model of timm's",
            "a folder of transformers is 'source: {huggingface: FOLDER}'",
        )
    if not weights or (folder / WEIGHTS).is_file():
        return config
    for name in PICKLES:
        if (folder / name).is_file():
            raise BuildError(
                f"the weights in {folder} are a pickle",
                f"name it as the source's 'checkpoint', beside 'timm': {folder.name}/{name} is then"
                " read without running anything in it",
            )
    raise BuildError(
        f"{folder} has no {WEIGHTS}",
        "fetch its large files; or name the file of the weights as the source's 'checkpoint'",
    )


def is_one(folder: Path) -> bool:
    """Whether a folder with a config.json is timm's rather than transformers'."""
    config = read_object(folder / "config.json")
    return "architecture" in config and "model_type" not in config


def _see_that_it_is_known(library: Any, name: str) -> None:
    # A tag, behind a dot, names weights, and how images were prepared for them.
    if library.is_model(name.partition(".")[0]):
        return
    near = difflib.get_close_matches(name, library.list_models(), n=3)
    raise RecipeError(
        f"timm {library.__version__} has no model {name!r}",
        f"near to it: {', '.join(near)}" if near else "timm.list_models() has their names",
    )


def settings(said: Mapping[str, Any], name: str) -> dict[str, object]:
    """Translate a data configuration of timm's into settings of a handler that takes images.

    Args:
        said: what `timm.data.resolve_input_data_config` returns.
        name: the model's, for messages.

    Returns:
        What `timm.data.create_transform` does for evaluation. It doesn't look at EXIF.

    Raises:
        UnsupportedError: no setting says the same.
    """

    def refuse(what: str) -> UnsupportedError:
        return UnsupportedError(f"{name}: {what} of its data config", _preprocessor.PREPARE)

    if unknown := sorted(said.keys() - KNOWN):
        raise refuse(f"{unknown[0]!r} is not known,")
    channels, *size = said["input_size"]
    if channels not in (1, 3):
        raise refuse(f"{channels} channels are in the 'input_size'")
    if said["interpolation"] not in RESAMPLING:
        raise refuse(f"'interpolation' is {said['interpolation']!r},")
    mode, part = said["crop_mode"], said["crop_pct"]
    scaled = [math.floor(side / part) for side in size]
    if part > 1:  # and so images are smaller than the crop
        raise refuse(f"'crop_pct' is {part},")
    if mode not in ("center", "squash") or (mode == "center" and scaled[0] != scaled[1]):
        raise refuse(f"'crop_mode' is {mode!r} for {size[0]} by {size[1]},")
    return {
        "upright": False,
        "resize": scaled if mode == "squash" else scaled[0],
        "interpolation": said["interpolation"],
        "crop": size,
        **({"greyscale": True} if channels == 1 else {}),
        "mean": [float(each) for each in said["mean"]],
        "std": [float(each) for each in said["std"]],
    }


def labels(said: object, classes: int, name: str) -> list[str]:
    """The names of the classes, in their order; of equal ones, all but the first get a number.

    Args:
        said: a list, or an object of numbers to names.
        classes: how many the model has; 0 for a model without a classifier.
        name: the model's, for messages.

    Raises:
        BuildError: they aren't one for each class.
    """
    found = {str(number): x for number, x in enumerate(said)} if isinstance(said, list) else said
    if not classes:
        return []
    wanted = [str(number) for number in range(classes)]
    if not isinstance(found, dict) or set(found) != set(wanted):
        count = f"{len(found)} names" if isinstance(found, dict) else "no names"
        raise BuildError(
            f"{name}: 'label_names' has {count} for {classes} classes",
            "there must be one for each number from 0",
        )
    return _on_images.told_apart([str(found[number]) for number in wanted])
