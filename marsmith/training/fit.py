"""How passes train: one loop, for one process or many, that resumes after a killed run."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from safetensors.torch import load_model, save_model

from marsmith.cache import Cache
from marsmith.errors import BuildError
from marsmith.recipe.references import resolve
from marsmith.recipe.sections import TrainedPass, Training
from marsmith.training import distributed
from marsmith.training.loop import Loop, Loss, own_device

WEIGHTS, FACTS, CHECKPOINT = "model.safetensors", "facts.json", "epoch.pt"


def planned(change: TrainedPass, training: Training | None) -> Training | None:
    """The recipe's training with the pass's own settings; None where the pass doesn't train.

    Raises:
        BuildError: the pass trains, and the recipe has no training.
    """
    if change.epochs == 0:
        return None
    if training is None:
        name = type(change).__module__.rpartition(".")[2]
        raise BuildError(
            f"{name} trains, and the recipe has no 'training' section",
            "add one with the 'data' to train on; pruning alone does without, with 'epochs: 0'",
        )
    own = {"epochs": change.epochs, "learning_rate": change.learning_rate}
    return training.model_copy(update={k: v for k, v in own.items() if v is not None})


def fit(
    module: torch.nn.Module,
    training: Training,
    cache: Cache,
    key: str,
    say: Callable[[str], None],
    *,
    loss: Loss | None = None,
    still: tuple[type[torch.nn.Module], ...] = (),
) -> dict[str, float]:
    """Train a module in place, unless that was done before.

    It uses AdamW on a cosine schedule, on the GPU if there is one. Every epoch's order, and the
    random numbers of every item, follow from the seed, so that a run that is killed and resumed
    gives the weights of one that wasn't. All processes share each batch, and the gradient is the
    mean over all of it, however unequal their parts. Only BatchNorm sees less: each process
    normalises by its own part, and the first one's running statistics count.

    Args:
        module: on the CPU; leaves in evaluation mode, with the same weights in every process.
        training: what to train on, and how.
        cache: keeps the weights for later calls, and until then a checkpoint after each epoch,
            from which a killed run resumes. The first process of each node writes to its own, and
            whoever has come furthest gives that to the others.
        key: names all that the weights depend on.
        say: takes one line after each epoch, in the first process.
        loss: replaces the recipe's.
        still: the kinds of layers that stay in evaluation mode.

    Returns:
        `epochs`, and the mean `loss` over the last one.

    Raises:
        BuildError: the data can't be trained on, or isn't the same in every process; the
            checkpoint can't be read, or the loss is no longer a number.
    """
    if distributed.rank() != 0:
        say = _nothing
    key = (distributed.share(key.encode) or b"").decode()  # of what has no key, each has another
    kept = cache.find(key)
    holder = distributed.furthest(0 if kept else -1)
    before = distributed.share(lambda: (kept / FACTS).read_bytes() if kept else None, holder)
    if before is not None:
        say("load the weights that were trained before")
        if kept:
            load_model(module, kept / WEIGHTS)
        facts: dict[str, float] = json.loads(before)
    else:
        # What comes later must not depend on whether this ran.
        own = own_device()
        others, kind = ([], "cuda") if own.type == "cpu" else ([own], own.type)
        with torch.random.fork_rng(others, device_type=kind):
            loop = Loop(module, training, loss or _recipes(training), still)
            last = loop.run(cache.resumable(key) / CHECKPOINT, say)
        facts = {"epochs": training.epochs, "loss": last}
        if distributed.rank() == 0:
            _keep(module, facts, cache, key)
    distributed.copy(module, holder)
    # Now that the first has written: a folder that nodes share has it already.
    if distributed.local_rank() == 0 and cache.find(key) is None:
        _keep(module, facts, cache, key)
    module.eval()
    return facts


def _keep(module: torch.nn.Module, facts: dict[str, float], cache: Cache, key: str) -> None:
    with cache.keep(key) as unfinished:
        save_model(module, str(unfinished / WEIGHTS))
        (unfinished / FACTS).write_text(json.dumps(facts), "utf-8")


def _nothing(line: str) -> None:
    """Say nothing: the first process speaks for all."""


def _recipes(training: Training) -> Loss:
    function = resolve(training.loss)
    return lambda outputs, inputs, targets: function(outputs, targets)
