"""Models of a library that prepares images in a way of its own: as settings, and as it does it."""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
from PIL import Image
from pydantic import PrivateAttr

from handlers import tasks
from marsmith.cache import Cache
from marsmith.errors import RecipeError, UnsupportedError, reason
from marsmith.extras import need
from marsmith.recipe.sections import Source, Untouched
from marsmith.sources import _checkpoints
from marsmith.sources._chance import Chance
from marsmith.sources.heads import _on_images, _preprocessor

SEED = 0
CLASSIFIES = "image_classification"


@dataclass(frozen=True)
class Preparation:
    """How a library makes a model's input of an image, and what it calls the classes.

    Attributes:
        settings: of `handlers.images.settings.ImageConfig`, which say the same.
        transform: the library's own, from an image to (C, H, W) float32.
        labels: in the order of the logits; empty where nobody names them.
    """

    settings: Mapping[str, object]
    transform: Callable[[Image.Image], torch.Tensor]
    labels: Sequence[str] = ()

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Prepare one image: (1, C, H, W) float32."""
        mode = "L" if self.settings.get("greyscale") else "RGB"
        return self.transform(image.convert(mode))[None]


class ImageModel(Source):
    """A model that a library makes by its name; `checkpoint` gives it its weights."""

    TRACED = True
    LIBRARY: ClassVar[str]
    """The module to import, and the extra that brings it."""
    TASKS: ClassVar[tuple[str, ...]] = (CLASSIFIES,)

    arguments: dict[str, object] = {}
    """What the model is made with, by name, such as `num_classes`."""
    checkpoint: Path | None = None
    """Its weights, as a `factory` has them."""
    checkpoint_key: str | None = None
    """Where in the file they are; see `factory`."""

    _task: str = PrivateAttr(CLASSIFIES)
    _chance: tuple[str, ...] = PrivateAttr(())

    def for_task(self, task: str) -> Source:
        """The source, for one of its tasks or one of the user's own."""
        if ":" not in task and task not in self.TASKS:
            raise ValueError(
                f"models of {self.LIBRARY} are for {' and '.join(self.TASKS)}, or a task of your"
                f" own, not {task!r}; another model is a 'source.factory' that calls {self.LIBRARY}"
            )
        made = self.model_copy()
        made._task = task
        return made

    def load(self, cache: Cache, say: Callable[[str], None]) -> torch.nn.Module:
        """Make the model and give it its weights; nothing is downloaded.

        Args:
            cache: not used.
            say: takes one line about what is being done.

        Raises:
            BuildError: a file is missing, damaged, or doesn't fit the model.
            RecipeError: the library knows no such model, or doesn't take the arguments.
            UnsupportedError: the library is not installed, or can't be imported.
        """
        library = self.library()
        torch.manual_seed(SEED)
        chance = Chance()
        with quiet(), chance:
            module = self.make(library, say)
        if self.checkpoint is not None:
            say(f"load {self.checkpoint.name}")
            _checkpoints.load(module, self.checkpoint, self.checkpoint_key, say)
        else:
            self._chance = chance.of(module)
        return self.finished(module).eval()

    def random(self) -> tuple[str, ...]:
        """The names of the weights that nothing but chance has set, once it is loaded."""
        return self._chance

    def bring(
        self, module: torch.nn.Module, out: Path, own: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Write the labels; say how images are prepared, as far as the task has settings for it.

        Raises:
            BuildError: there are not as many labels as classes.
            UnsupportedError: images are prepared as no setting says.
        """
        prepares = self.preparation(self.library(), module)
        if prepares is None:
            return {}
        _preprocessor.see_that_it_prepares(
            prepares, prepares.settings, self.named(), f"{self.LIBRARY}'s own transform"
        )
        settings, known = dict(prepares.settings), self._known()
        if prepares.labels:
            settings["labels"] = _on_images.LABELS
            if "labels" in known:
                (out / _on_images.LABELS).write_text(json.dumps(prepares.labels), "utf-8")
        return {name: value for name, value in settings.items() if name in known}

    def untouched(
        self, instances: Sequence[object], handler: Mapping[str, object], say: Callable[[str], None]
    ) -> Untouched | None:
        """What the model says to images that the library has prepared, and its scores of labels."""
        library = self.library()
        with quiet():
            module = self.alone(library)
            prepares = self.preparation(library, module)
        if prepares is None:
            return None
        names = prepares.labels if self._task == CLASSIFIES else ()
        if not _on_images.says(handler, {"labels": _on_images.LABELS, "activation": "softmax"}):
            names = ()
        answers: list[object] = [None] * len(instances)
        outputs: list[tuple[torch.Tensor, ...] | None] = [None] * len(instances)
        for index, image in enumerate(_on_images.opened(instances, lambda image: image)):
            if image is None or not _on_images.says(handler, prepares.settings):
                continue
            with torch.inference_mode():
                found = module(prepares(image))
            outputs[index] = (found,)
            if names:
                answers[index] = dict(zip(names, found[0].softmax(dim=0).tolist(), strict=True))
        return Untouched(answers, outputs, by=f"{self.LIBRARY}, with its own transform")

    def make(self, library: Any, say: Callable[[str], None]) -> torch.nn.Module:
        """Make the model by its name; with its weights, where the library has read them."""
        raise TypeError(f"{type(self).__name__} makes nothing")

    def preparation(self, library: Any, module: torch.nn.Module) -> Preparation | None:
        """How the library prepares images for a model; None where it doesn't know."""
        raise TypeError(f"{type(self).__name__} prepares nothing")

    def named(self) -> str:
        """What the model is called in messages."""
        raise TypeError(f"{type(self).__name__} names nothing")

    def finished(self, module: torch.nn.Module) -> torch.nn.Module:
        """The model as its task needs it."""
        return module

    def alone(self, library: Any) -> torch.nn.Module:
        """The model as the library itself makes it and reads its weights, where that can be."""
        return self.load(Cache(Path()), lambda line: None)

    def library(self) -> ModuleType:
        """Import the library.

        Raises:
            UnsupportedError: it is not installed, or can't be imported; the hint says what to do.
        """
        need(self.LIBRARY, self.LIBRARY)
        with quiet():
            try:
                return importlib.import_module(self.LIBRARY)
            except Exception as error:  # torchvision's operators are compiled for one torch
                raise UnsupportedError(
                    f"{self.LIBRARY} can't be imported: {reason(error)}",
                    "install torch and torchvision together, from one place: a torchvision is for"
                    f" one version and build of torch, and this torch is {torch.__version__}",
                ) from error

    def called(
        self,
        make: Callable[..., torch.nn.Module],
        arguments: Mapping[str, object],
        **named: object,
    ) -> torch.nn.Module:
        """Call what makes a model, with arguments of a recipe.

        Raises:
            RecipeError: it doesn't take them.
        """
        try:
            return make(**named, **arguments)
        except Exception as error:  # whatever the library raises of what it is given
            given = f" with {dict(arguments)}" if arguments else ""
            raise RecipeError(
                f"{self.LIBRARY} can't make {self.named()}{given}: {reason(error)}",
                f"'arguments' are what {self.LIBRARY} takes, by name",
            ) from error

    def refuse_downloads(self, *names: str) -> None:
        """Refuse arguments that would fetch weights, or are said otherwise; ValueError."""
        for name in names:
            if name in self.arguments:
                raise ValueError(
                    f"'arguments' must not have {name!r}: nothing is downloaded; name the file of"
                    " the weights as 'checkpoint'"
                )

    def _known(self) -> set[str]:
        """The names of the settings that the task has."""
        return {field.name for field in dataclasses.fields(tasks.find(self._task).Config)}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence a library's warnings and logs for the block: what matters is found out anyway."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
