"""A module that is in memory, as `marsmith.build(module, ...)` takes it. No recipe can name one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from pydantic import Field, PrivateAttr

from marsmith.cache import Cache, key_of
from marsmith.errors import RecipeError, reason
from marsmith.recipe.sections import Source

LABELS = "labels.json"
AROUND = {
    "OptimizedModule": "_orig_mod", "DataParallel": "module", "DistributedDataParallel": "module",
}  # fmt: skip
"""What stands around a module while it is trained, and where the module is in it."""


class LiveModule(Source):
    """A copy of a module, made when it was given: what happens to that later changes nothing."""

    module: str
    """The name of its class."""
    weights: str
    """A key of its parameters and buffers."""
    labels: tuple[str, ...] = Field((), repr=False)
    """The names of its classes, in the order of its logits; empty where they are not given."""
    _copy: torch.nn.Module = PrivateAttr()
    _program: str = PrivateAttr("")

    @classmethod
    def of(cls, module: torch.nn.Module, labels: tuple[str, ...] = ()) -> LiveModule:
        """Take a module as it is now, in any mode and on any device.

        Raises:
            RecipeError: it has no weights yet, or can't be copied.
        """
        while (inner := AROUND.get(type(module).__name__)) and hasattr(module, inner):
            module = getattr(module, inner)
        name = type(module).__qualname__
        tensors = [*module.parameters(), *module.buffers()]
        if any(t.is_meta or torch.nn.parameter.is_lazy(t) for t in tensors):
            raise RecipeError(
                f"{name} has parameters without values", "load its weights, or run it once, before"
            )
        try:
            made = copy.deepcopy(module).cpu()
        except Exception as error:  # of any of its attributes
            raise RecipeError(
                f"{name} can't be copied: {reason(error)}",
                "write a function that makes it into a file, and name that: source: {factory: ...}",
            ) from error
        # A frozen TorchScript has no mode to change.
        made = made.eval() if hasattr(made, "training") else made
        weights = key_of(made.state_dict(), dict(made.named_buffers()))
        found = cls(module=name, weights=weights, labels=labels)
        found._copy = made
        if isinstance(made, torch.jit.ScriptModule):  # it shows neither its code nor its attributes
            found._program = key_of(made.save_to_buffer())
        return found

    def __repr__(self) -> str:
        return f"{super().__repr__()} {self._program}"

    def load(self, cache: Cache, say: Callable[[str], None]) -> torch.nn.Module:
        """Copy it once more: what a build does to a module, it does to that."""
        return copy.deepcopy(self._copy)

    def bring(
        self, module: torch.nn.Module, out: Path, own: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Write the labels."""
        if not self.labels:
            return {}
        (out / LABELS).write_text(json.dumps(self.labels), "utf-8")
        return {"labels": LABELS}
