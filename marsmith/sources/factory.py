"""A function that makes the module, and the place that its weights come from."""

from __future__ import annotations

import pickle
import platform
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model

from marsmith.cache import Cache, key_of
from marsmith.errors import BuildError, reason
from marsmith.recipe.references import resolve, source_files
from marsmith.recipe.sections import Source
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
    """A state_dict: `.safetensors`, or a `.pt` that needs no code to be read."""
    train: str | None = None
    """A "module:function" that trains the module in place; its result is kept."""

    def load(self, cache: Cache, say: Callable[[str], None]) -> torch.nn.Module:
        """Make the module and give it its weights.

        Args:
            cache: keeps trained weights, by the content of the code that made them.
            say: takes one line about what is being done.

        Raises:
            BuildError: the factory doesn't return a module, or the checkpoint doesn't fit it.
            RecipeError: there is no such factory.
        """
        torch.manual_seed(SEED)
        module = resolve(self.factory)(**self.arguments)
        if not isinstance(module, torch.nn.Module):
            raise BuildError(f"{self.factory} returned {type(module).__name__}, not an nn.Module")
        if self.checkpoint is not None:
            say(f"load {self.checkpoint.name}")
            load_weights(module, self.checkpoint)
        elif self.train is not None:
            if distributed.rank() == 0:
                self._train_once(module, cache, say)
            distributed.copy(module)
        return module.eval()

    def _train_once(
        self, module: torch.nn.Module, cache: Cache, say: Callable[[str], None]
    ) -> None:
        train = resolve(str(self.train))
        key = f"trained-{self._trained_by()}"
        if kept := cache.find(key):
            say(f"load the weights that {self.train} trained before")
            load_weights(module, kept / WEIGHTS)
            return
        say(f"train with {self.train}")
        train(module)
        with cache.keep(key) as unfinished:
            save_model(module, str(unfinished / WEIGHTS))

    def _trained_by(self) -> str:
        """The key of the code of the factory's and the training's module, and of what runs it."""
        code = [(each, source_files(each)) for each in (self.factory, str(self.train))]
        versions = torch.__version__, platform.python_version()
        return key_of(code, sorted(self.arguments.items()), SEED, versions)


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Load a state_dict into a module, without running anything that is in the file.

    Raises:
        BuildError: there is no such file, it is not a plain state_dict, or it doesn't fit the
            module.
    """
    if not path.is_file():
        raise BuildError(f"there is no checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            load_model(module, path)
        else:
            module.load_state_dict(_read_pickle(path))
    except SafetensorError as error:
        raise BuildError(f"the checkpoint {path.name} is not safetensors: {error}") from error
    except RuntimeError as error:
        raise BuildError(f"the weights in {path.name} don't fit the model: {error}") from error


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that it is about to refuse
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise BuildError(
            f"the checkpoint {path.name} is not a plain state_dict: {reason(error)}",
            "save it with safetensors.torch.save_model(model, ...)",
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # as training loops save it, beside the optimiser's
    if isinstance(state, dict) and all(str(name).startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}  # DDP's
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise BuildError(f"the checkpoint {path.name} must be a state_dict: names to tensors")
    return state
