"""One file per change made to a module before conversion; a recipe's `passes:` names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from handlers.runtimes import Tensors
from marsmith import imports
from marsmith.cache import Cache, code_of, key_of, module_key
from marsmith.recipe.references import source_files
from marsmith.recipe.sections import Pass, Recipe, Source, Training


@dataclass(frozen=True)
class Work:
    """What a pass is given beside the module.

    Attributes:
        batch: real inputs, named, in the order of `forward`; the first dimension is the batch.
        training: the recipe's section; None when it has none.
        cache: keeps trained weights, and the checkpoint that a killed training resumes from.
        key: names all that the pass's result depends on.
        say: takes one line about what is being done.
    """

    batch: Tensors
    training: Training | None
    cache: Cache
    key: str
    say: Callable[[str], None]


def apply(
    recipe: Recipe,
    module: torch.nn.Module,
    batch: Tensors,
    cache: Cache,
    say: Callable[[str], None],
) -> tuple[torch.nn.Module, Source, list[dict[str, object]]]:
    """Change the module as the recipe's passes say.

    Returns:
        The changed module, where its code comes from, and what each pass reports.
    """
    source, passed = recipe.source, []
    for each in recipe.passes:
        name = type(each).__module__.rpartition(".")[2]
        say(name.replace("_", " "))
        key = f"{name}-{made_from(each, module, recipe.training)}"
        module, facts = each.apply(module, Work(batch, recipe.training, cache, key, say))
        source = each.source(source)
        passed.append({"pass": name, **facts})
    return module.eval(), source, passed


def made_from(change: Pass, module: torch.nn.Module, training: Training | None) -> str:
    """The key of all that the result of a pass depends on."""
    named = [value for value in dict(change).values() if isinstance(value, str) and ":" in value]
    taken = [training.data, training.loss] if training else []
    return key_of(
        module_key(module), repr(change), repr(training), code_of(type(change).__module__),
        [source_files(each) for each in (*named, *taken)], torch.__version__,
        imports.unseen(each.partition(":")[0] for each in (*named, *taken)),
    )  # fmt: skip


def size(module: torch.nn.Module, batch: Tensors) -> dict[str, int]:
    """Measure how large a module is.

    Returns:
        `parameters`, and `macs`: the multiply-accumulate operations for one sample, in
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
