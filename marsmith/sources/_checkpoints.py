"""Checkpoints as people have them: which weights of a file are a module's, and under what names."""

from __future__ import annotations

import difflib
import json
import pickle
import shlex
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from marsmith.errors import BuildError, reason
from marsmith.sources import _pickles

INDEX = ".index.json"
COMPILED = "_orig_mod."
"""What `torch.compile` puts before the names of the modules that it wraps."""
SHOWN = 5

State = Mapping[str, torch.Tensor]


def load(module: torch.nn.Module, path: Path, key: str | None, say: Callable[[str], None]) -> None:
    """Load a checkpoint into a module, without running anything that is in the file.

    A file may hold more than the weights, as training loops save it, and may call them otherwise:
    with a prefix before every name, as DistributedDataParallel, torch.compile and Lightning do.
    What fits the module, and nothing else, is taken; also out of a module that was saved whole.

    Args:
        module: gets the weights.
        path: a `.safetensors`, the index of several (`.safetensors.index.json`), or what
            `torch.save` writes. Objects in it that are no plain data are not made: no class is
            imported, and no function called, because the file names it.
        key: where in the file the weights are, or what all of their names begin with; None to
            look for them.
        say: takes one line about what was found where.

    Raises:
        BuildError: there is no such file, it holds no plain tensors, it names what runs commands,
            several sets of weights fit that differ, or none does.
    """
    if not path.is_file():
        raise BuildError(
            f"there is no checkpoint {path}", "a path in a recipe begins at the recipe's folder"
        )
    there = _flat(_read(path, say))
    if not there:
        raise BuildError(f"the checkpoint {path.name} must be a state_dict: names to tensors")
    if not any(COMPILED in name for name in module.state_dict()):
        there = {name.replace(COMPILED, ""): tensor for name, tensor in there.items()}
    asked = {name: x for name, x in there.items() if key is None or name.startswith(f"{key}.")}
    if not asked:
        known = ", ".join(sorted({name.partition(".")[0] for name in there}))
        raise BuildError(
            f"the checkpoint {path.name} has nothing under {key!r}",
            f"its names begin with: {known}",
        )
    fitting = _different(
        asked, [prefix for prefix in _prefixes(module, asked) if _fits(module, asked, prefix)]
    )
    if len(fitting) > 1:
        places = [prefix.rstrip(".") for prefix in fitting]
        raise BuildError(
            f"the checkpoint {path.name} has several weights that fit: {', '.join(places)}",
            f"say which with 'checkpoint_key', such as {places[0]!r}",
        )
    if not fitting:
        try:
            module.load_state_dict(dict(asked))  # it may know older names of its own
        except RuntimeError:
            raise BuildError(
                f"the weights in {path.name} don't fit the model: {_misfit(module, asked)}"
            ) from None
        return
    state = _under(asked, fitting[0])
    if fitting[0]:
        others = len(there) - len(state)
        where = fitting[0].rstrip(".")
        left = f"; not the model's: {others} more" if others else ""
        say(f"the weights are under {where!r}{left}")
    module.load_state_dict(state, strict=False)  # of tied weights there may be one alone


def unpickle_hint(path: Path) -> str:
    """What to do about a pickle that can't be read without running it."""
    file, out = shlex.quote(str(path)), shlex.quote(f"{path.stem}_unpickled")
    return (
        f"`marsmith unpickle {file}` shows what it names, and runs nothing; if you trust it:"
        f" `marsmith unpickle --i-trust-this {file} --out {out}`"
    )


def _read(path: Path, say: Callable[[str], None]) -> object:
    """What a file holds: tensors, or a structure of plain things with tensors in it."""
    try:
        if path.name.endswith(INDEX):
            return _read_shards(path)
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that it is about to refuse
            return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise BuildError(f"the checkpoint {path.name} is not safetensors: {error}") from error
    except pickle.UnpicklingError as error:
        return _read_inertly(path, say, error)
    except (RuntimeError, EOFError) as error:
        hint = "where it was made, save the weights alone: safetensors.torch.save_model(model, ...)"
        if "TorchScript" in str(error):
            hint = "it is a TorchScript archive: name it as 'source: {torchscript: ...}'"
        raise BuildError(
            f"the checkpoint {path.name} is not a plain state_dict: {reason(error)}", hint
        ) from error


def _read_inertly(path: Path, say: Callable[[str], None], first: Exception) -> object:
    """What a pickle holds that names more than tensors, with none of that made."""
    said = f"the checkpoint {path.name} is not a plain state_dict"
    scanned = _pickles.scan(path)
    if scanned.harmful:
        raise BuildError(
            f"{said}: it names {', '.join(scanned.harmful)}, which no weights need",
            "it may have been made to do harm: don't read it with anything",
        )
    if not scanned.names:
        raise BuildError(
            f"{said}, nor a pickle that can be read: it may be damaged, or of another format",
            "copy it anew, or save the weights: safetensors.torch.save_model(model, ...)",
        ) from first
    try:
        held = _pickles.read(path, scanned)
    except Exception as error:  # a pickle can do anything to what stands for its objects
        raise BuildError(
            f"{said}, and can't be read without running it: it needs objects of"
            f" {_few(_pickles.unknown(scanned))}",
            unpickle_hint(path),
        ) from error
    say(f"without what {path.name} has of {_few(_pickles.unknown(scanned))}")
    return held


def _few(names: list[str]) -> str:
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return ", ".join(names[:SHOWN] + more)


def _read_shards(index: Path) -> dict[str, torch.Tensor]:
    """The tensors of several files, as an index lists them."""
    try:
        files = set(map(str, json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"{index.name} has no 'weight_map' of files") from error
    found: dict[str, torch.Tensor] = {}
    for name in sorted(files):
        if Path(name).name != name or not (index.parent / name).is_file():
            raise BuildError(f"{index.name} names {name}, which is not beside it")
        found |= load_file(index.parent / name)
    return found


def _flat(held: object, place: str = "") -> dict[str, torch.Tensor]:
    """All tensors in what a file holds, with where they are before their names."""
    if isinstance(held, torch.Tensor):
        return {place: held}
    if isinstance(held, _pickles.Inert):
        held = held.weights()  # of a module that was saved whole
    found: dict[str, torch.Tensor] = {}
    for name, each in held.items() if isinstance(held, Mapping) else ():
        found |= _flat(each, f"{place}.{name}" if place else str(name))
    return found


def _under(state: State, prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): x for name, x in state.items() if name.startswith(prefix)}


def _own(module: torch.nn.Module) -> State:
    state = module.state_dict(keep_vars=True)
    return {name: each for name, each in state.items() if isinstance(each, torch.Tensor)}


def _prefixes(module: torch.nn.Module, there: State) -> list[str]:
    """What may be before the names: whatever is before one that all models have."""
    ends = _tied(module)[0] if _own(module) else []
    found = {name.removesuffix(end) for end in ends for name in there if name.endswith(end)}
    return sorted(prefix for prefix in found if not prefix or prefix.endswith("."))


def _fits(module: torch.nn.Module, there: State, prefix: str) -> bool:
    """Whether under a prefix is all that a module needs, and nothing else."""
    own, here = _own(module), _under(there, prefix)
    shapes = {name: tensor.shape for name, tensor in here.items()}
    return set(here) <= set(own) and all(
        shapes.get(name) == own[name].shape for name in _needed(module, here)
    )


def _different(there: State, prefixes: list[str]) -> list[str]:
    """Of several sets of weights those that differ: a file may have the same ones twice."""
    found: list[str] = []
    for prefix in prefixes:
        one = _under(there, prefix)
        if not any(_equal(one, _under(there, other)) for other in found):
            found.append(prefix)
    return found


def _equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def _needed(module: torch.nn.Module, there: Mapping[str, object]) -> list[str]:
    """The names that must be there: of tied weights any one."""
    return [next((name for name in names if name in there), names[0]) for names in _tied(module)]


def _tied(module: torch.nn.Module) -> list[list[str]]:
    """The names of a module's weights; those of one are together."""
    places: dict[Any, list[str]] = {}
    for name, tensor in _own(module).items():
        place = (tensor.data_ptr(), tensor.shape) if tensor.numel() else name
        places.setdefault(place, []).append(name)
    return list(places.values())


def _misfit(module: torch.nn.Module, there: State) -> str:
    """What is missing, what has another shape, and what is too much, where it fits best."""
    own = _own(module)
    candidates = [_under(there, prefix) for prefix in ("", *_prefixes(module, there))]
    state = min(candidates, key=lambda each: len(set(own) ^ set(each)))
    said = []
    for name in _needed(module, state):
        wanted = tuple(own[name].shape)
        if name not in state:
            near = difflib.get_close_matches(name, set(state) - set(own), 1)
            other = f"; there is {near[0]} {tuple(state[near[0]].shape)}" if near else ""
            said.append(f"{name} {wanted} is missing{other}")
        elif tuple(state[name].shape) != wanted:
            said.append(f"{name} is {tuple(state[name].shape)}, the model's {wanted}")
    said += [f"{name} is not the model's" for name in state if name not in own]
    more = [f"{len(said) - SHOWN} more"] if len(said) > SHOWN else []
    return ", ".join(said[:SHOWN] + more)
