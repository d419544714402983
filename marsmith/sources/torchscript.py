"""A TorchScript file, from wherever it was scripted or traced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from marsmith.cache import Cache
from marsmith.errors import BuildError, reason
from marsmith.recipe.sections import Source


class TorchScriptFile(Source):
    """`torchscript` is the file. Only TorchScript in it is run."""

    torchscript: Path
    """What `torch.jit.save` wrote."""

    def load(self, cache: Cache, say: Callable[[str], None]) -> torch.nn.Module:
        """Load the file.

        Args:
            cache: not used.
            say: takes one line about what is being done.

        Raises:
            BuildError: there is no such file, or it isn't TorchScript.
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
        return module.eval() if hasattr(module, "training") else module
