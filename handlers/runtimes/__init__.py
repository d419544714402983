"""One file per way to execute a model, each with `load(path, device, **options)`.

A runtime is one call: named tensors in, named tensors out, the batch first. A
`model-config.yaml` names it by its module's name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch

from handlers import by_name
from handlers.errors import LoadError

Tensors = dict[str, torch.Tensor]
Runtime = Callable[[Tensors], Tensors]


def load(name: str, file: Path, device: torch.device, options: Mapping[str, object]) -> Runtime:
    """Load a model file with the runtime of that name.

    Args:
        name: a module of this package.
        file: what the converter of the same name wrote.
        device: where the model runs.
        options: the runtime's own options, by name.

    Raises:
        LoadError: there is no such runtime, file or option, or the file can't be loaded.
    """
    load_file = by_name.find(__name__, name, "'runtime'").load
    if not file.is_file():
        raise LoadError(f"the archive has no model file {file.name!r}")
    try:
        inspect.signature(load_file).bind(file, device, **options)
    except TypeError as error:
        raise LoadError(f"runtime_options don't fit the runtime {name!r}: {error}") from error
    runtime: Runtime = load_file(file, device, **options)
    return runtime


def ordered(inputs: Tensors, names: Collection[str]) -> Tensors:
    """Inputs in the order of a model's names: a handler may collate them in another.

    Raises:
        RuntimeError: they have other names.
    """
    if inputs.keys() != set(names):
        raise RuntimeError(f"the model takes {', '.join(names)}; {', '.join(inputs)} were given")
    return {name: inputs[name] for name in names}


def known() -> list[str]:
    """The runtimes there are."""
    return by_name.known(__name__)
