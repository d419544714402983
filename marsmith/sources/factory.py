"""A function that makes the module, and the place that its weights come from."""

from __future__ import annotations

import inspect
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from pydantic import PrivateAttr
from safetensors.torch import load_model, save_model

from marsmith import imports
from marsmith.cache import Cache, key_of
from marsmith.errors import BuildError, RecipeError
from marsmith.recipe.references import resolve, source_files
from marsmith.recipe.sections import Source
from marsmith.sources import _checkpoints
from marsmith.sources._chance import Chance
from marsmith.training import distributed

SEED = 0
WEIGHTS = "model.safetensors"


class Factory(Source):
    """`factory` makes the module; `checkpoint` or `train` gives it its weights."""

    factory: str
    """A "module:function" that returns an `nn.Module`."""
    arguments: dict[str, object] = {}
    """What the factory is called with, by name."""
    checkpoint: Path | None = None
    """Its weights: `.safetensors`, the `.safetensors.index.json` of several, or a `.pt`, `.pth` or
    `.ckpt` that needs no code to be read. Whatever stands before all names is left out."""
    checkpoint_key: str | None = None
    """Where in the file the weights are, such as "state_dict_ema", or what all of their names begin
    with, such as "student"; by default wherever those are that fit, if these are one."""
    train: str | None = None
    """A "module:function" that trains the module in place; its result is kept."""

    _chance: tuple[str, ...] = PrivateAttr(())

    def load(self, cache: Cache, say: Callable[[str], None]) -> torch.nn.Module:
        """Make the module and give it its weights.

        Args:
            cache: keeps trained weights, by the content of the code that made them.
            say: takes one line about what is being done.

        Raises:
            BuildError: the factory doesn't return a module, or the checkpoint doesn't fit it.
            RecipeError: there is no such factory, or it doesn't take the arguments.
        """
        torch.manual_seed(SEED)
        make, chance = resolve(self.factory), Chance()
        self._check_arguments(make)
        with chance:
            module = make(**self.arguments)
        if not isinstance(module, torch.nn.Module):
            raise BuildError(
                f"{self.factory} returned {type(module).__name__}, not an nn.Module",
                "return the module itself; its weights are the source's `checkpoint`",
            )
        if self.checkpoint is not None:
            say(f"load {self.checkpoint.name}")
            _checkpoints.load(module, self.checkpoint, self.checkpoint_key, say)
        elif self.train is not None:
            key = f"trained-{self._trained_by()}"
            holder = distributed.furthest(0 if cache.find(key) else -1)
            if distributed.rank() == holder:
                self._train_once(module, cache, key, say)
            distributed.copy(module, holder)
        else:
            self._chance = chance.of(module)
        return module.eval()

    def _check_arguments(self, make: Callable[..., object]) -> None:
        with suppress(ValueError):  # what is not written in Python may not say what it takes
            try:
                inspect.signature(make).bind(**self.arguments)
            except TypeError as error:
                given = self.arguments or "no arguments"
                raise RecipeError(
                    f"{self.factory} can't be called with {given}: {error}",
                    "they are the `arguments` of the recipe's `source`, by name",
                ) from error

    def random(self) -> tuple[str, ...]:
        """The names of the weights that nothing but chance has set, once it is loaded."""
        return self._chance

    def _train_once(
        self, module: torch.nn.Module, cache: Cache, key: str, say: Callable[[str], None]
    ) -> None:
        train = resolve(str(self.train))
        if kept := cache.find(key):
            say(f"load the weights that {self.train} trained before")
            load_model(module, kept / WEIGHTS)
            return
        say(f"train with {self.train}")
        train(module)
        with cache.keep(key) as unfinished:
            save_model(module, str(unfinished / WEIGHTS))

    def _trained_by(self) -> str:
        """The key of the code of the factory's and the training's module, and of what runs it."""
        names = (self.factory, str(self.train))
        code = [(each, source_files(each)) for each in names]
        code_of_cells = imports.unseen(each.partition(":")[0] for each in names)
        versions = torch.__version__, platform.python_version()
        return key_of(code, sorted(self.arguments.items()), SEED, versions, *code_of_cells)
