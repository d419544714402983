"""A TorchScript file, from wherever it was scripted or traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from marsmith.cache import Cache
from marsmith.errors import BuildError, reason
from marsmith.recipe.sections import Source, Untouched
from marsmith.sources import _named, _stateful


class TorchScriptFile(Source):
    """`torchscript` is the file. Only TorchScript in it is run."""

    torchscript: Path
    """What `torch.jit.save` wrote."""
    constants: dict[str, object] = {}
    """Values of what its `forward` takes and nobody is to give, by name: a sample rate, say."""
    state: dict[str, int] = {}
    """Attributes that it keeps from call to call, tensors, and the axis that has the batch there.
    Each becomes an input, without a leading "_", and an output, "next_" and that name."""
    reset: list[str] = []
    """Further attributes that it keeps, which begin each call as they are in the file."""

    def load(self, cache: Cache, say: Callable[[str], None]) -> torch.nn.Module:
        """Load the file.

        Args:
            cache: not used.
            say: takes one line about what is being done.

        Raises:
            BuildError: there is no such file, it isn't TorchScript, or the other settings don't
                fit it.
        """
        path = self.torchscript
        if not path.is_file():
            raise BuildError(f"there is no TorchScript file {path}")
        say(f"load {path.name}")
        try:
            module: torch.nn.Module = torch.jit.load(str(path), map_location="cpu")
        except (RuntimeError, ValueError) as error:
            raise BuildError(
                f"{path.name} is not a TorchScript file: {reason(error)}",
                "write one with torch.jit.save(torch.jit.script(model), ...)",
            ) from error
        # A frozen module has no `training` attribute to change; `eval` on it would fail.
        module = module.eval() if hasattr(module, "training") else module
        if self.constants or self.state or self.reset:
            return _stateful.adapted(module, self.constants, self.state, self.reset)
        _stateful.check_arguments(module)
        return module

    def untouched(
        self, instances: Sequence[object], handler: Mapping[str, object], say: Callable[[str], None]
    ) -> Untouched | None:
        """What the file makes of instances that are named tensors, called by their names."""
        return _named.of_torchscript(
            self.torchscript, self.constants, self.state, instances, handler
        )
