"""One file per change made to a module before conversion; a recipe's `passes:` names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from handlers.runtimes import Tensors
from marsmith.cache import key_of, module_key
from marsmith.recipe import Recipe, Source, Training
from marsmith.references import source_files

TRAINS = ("training.py", "loop.py")


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


def apply(
    recipe: Recipe,
    module: torch.nn.Module,
    batch: Tensors,
    cache: Path,
    say: Callable[[str], None],
) -> tuple[torch.nn.Module, Source, list[dict[str, Any]]]:
    """Change the module as the recipe's passes say.

    Returns:
        The changed module, where its code comes from, and what each pass reports.
    """
    source, passed = recipe.source, []
    training = recipe.training
    package = Path(__file__).parent
    code = [*sorted(package.glob("*.py")), *(package.with_name(f) for f in TRAINS)]
    taken = [training.data, training.loss] if training else []
    for each in recipe.passes:
        name = type(each).__module__.rpartition(".")[2]
        say(name.replace("_", " "))
        named = [v for v in dict(each).values() if isinstance(v, str) and ":" in v]
        files = [*code, *(file for each in (*taken, *named) for file in source_files(each))]
        key = key_of(module_key(module), name, repr(each), repr(training), files)
        kept = cache / f"{name}-{key}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        module, facts = each.apply(module, Work(batch, training, kept, say))
        source = each.source(source)
        passed.append({"pass": name, **facts})
    return module.eval(), source, passed


def size(module: torch.nn.Module, batch: Tensors) -> dict[str, int]:
    """How large a module is.

    Returns:
        `parameters`, and `macs`: the multiplications with an addition for one sample, of
        convolutions, matrix products and attention.
    """
    # With gradients: without, attention takes one fused operator, which isn't counted.
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        module(*batch.values())
    samples = len(next(iter(batch.values())))
    return {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "macs": counter.get_total_flops() // 2 // samples,
    }
