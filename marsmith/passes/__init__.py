"""One file per change made to a module before conversion; a recipe's `passes:` names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from handlers.runtimes import Tensors
from marsmith.recipe import Training


@dataclass(frozen=True)
class Work:
    """What a pass is given beside the module.

    Attributes:
        batch: real inputs, named, in the order of `forward`; the first dimension is the batch.
        training: the recipe's section; None when it has none.
        kept: a file name stem, unique to all that the pass's result depends on: checkpoints
            and trained weights go to files that begin with it.
        say: takes one line about what is being done.
    """

    batch: Tensors
    training: Training | None
    kept: Path
    say: Callable[[str], None]
