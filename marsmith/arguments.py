"""Find the order in which a module takes a task's named tensors: it is called by position.

A module's names are the parameters of its `forward`, or the inputs of its ONNX file. Every tensor
must have one of these names, with two exceptions: a single tensor may have any name, because there
is only one place for it; and tensors for `*args` have no names there, and keep the handler's order.

Torch writes `*args` into a trace as `argument_2`, `argument_3` …, where the number is the place,
and into an exported program as `args_0`, `args_1` …: these count as `*args`. Other numbered names,
such as those that ONNX exporters make up, may be in any order, so nothing is concluded from them.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from marsmith.errors import BuildError
from marsmith.sources.onnx import OnnxModule

HINT = "give the handler's tensors and the parameters of forward the same names"


@dataclass(frozen=True)
class Parameters:
    """What a module takes by position.

    Attributes:
        required: the names of those that must be given; they come first.
        optional: the names of those that have a default.
        starred: whether more may follow, without names.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    starred: bool = False

    @property
    def named(self) -> tuple[str, ...]:
        """All names, in order."""
        return self.required + self.optional

    def __str__(self) -> str:
        optional = [f"{name} (or not)" for name in self.optional]
        rest = ["*args"] if self.starred else []
        return ", ".join([*self.required, *optional, *rest]) or "nothing"


def order(module: torch.nn.Module, tensors: Sequence[str]) -> list[str]:
    """Sort the names of a task's tensors as a module takes them.

    Args:
        module: as a source returns it.
        tensors: the names, in the order in which the handler collates them.

    Raises:
        BuildError: the names don't match, or can't be passed by position.
    """
    readings = _readings(module)
    for takes in readings:
        found = _matched(takes, tensors)
        if found is not None:
            return found
    who, hint = f"{getattr(module, 'original_name', type(module).__name__)}.forward", HINT
    if isinstance(module, OnnxModule):
        who, hint = module.path.name, "export it anew, with the task's names as 'input_names'"
    raise BuildError(
        f"the task gives {', '.join(tensors)}, and {who} takes {readings[0]}: "
        f"{_problem(readings[0], tensors)}",
        hint,
    )


def names(module: torch.nn.Module) -> tuple[str, ...]:
    """The names of what a module takes, in its order."""
    return _readings(module)[0].named


def _matched(takes: Parameters, tensors: Sequence[str]) -> list[str] | None:
    named = list(takes.named)
    given = [name for name in named if name in tensors]
    others = [name for name in tensors if name not in named]
    if not others:
        fits = given == named[: len(given)] and len(given) >= len(takes.required)
        return given if fits else None
    if takes.starred and given == named:
        return given + others
    alone = len(tensors) == 1 and (len(takes.required) == 1 or len(named) == 1)
    return others if alone else None


def _problem(takes: Parameters, tensors: Sequence[str]) -> str:
    lacking = [name for name in takes.required if name not in tensors]
    others = [name for name in tensors if name not in takes.named]
    if others:
        return f"nothing says where {' and '.join(others)} must go"
    if lacking:
        return f"{' and '.join(lacking)} must be given"
    last = max(takes.named.index(name) for name in tensors)
    skipped = next(name for name in takes.named[:last] if name not in tensors)
    return f"tensors go in by position, and {skipped} before {takes.named[last]} isn't given"


def _readings(module: torch.nn.Module) -> list[Parameters]:
    """What a module takes, by its names; then with the names that torch made read as `*args`."""
    if isinstance(module, OnnxModule):
        return [Parameters(tuple(module.inputs))]
    scripted = isinstance(module, torch.jit.ScriptModule)
    takes = _of_schema(module) if scripted else _of_signature(module)
    for place in range(len(takes.required)):
        if _made(module, takes.named[place:], place):
            return [takes, Parameters(takes.named[:place], starred=True)]
    return [takes]


def _made(module: torch.nn.Module, names: Sequence[str], place: int) -> bool:
    """Whether torch made the names from a place on, for the `*args` that it traced or exported."""
    count = range(len(names))
    if isinstance(module, torch.jit.ScriptModule):
        return list(names) == [f"argument_{place + 1 + number}" for number in count]
    stem = names[0].removesuffix("_0")
    exported = isinstance(module, torch.fx.GraphModule)
    return exported and list(names) == [f"{stem}_{number}" for number in count]


def _of_schema(module: torch.nn.Module) -> Parameters:
    forward: Any = getattr(module, "forward", None)
    if forward is None:
        raise BuildError("this TorchScript has no forward", "script a module that has one")
    arguments = forward.schema.arguments[1:]  # the first is the module itself
    optional = tuple(each.name for each in arguments if each.has_default_value())
    return Parameters(tuple(each.name for each in arguments if each.name not in optional), optional)


def _of_signature(module: torch.nn.Module) -> Parameters:
    parameters = inspect.signature(module.forward).parameters.values()
    named = [e for e in parameters if e.kind in (e.POSITIONAL_ONLY, e.POSITIONAL_OR_KEYWORD)]
    keywords = [e.name for e in parameters if e.kind == e.KEYWORD_ONLY and e.default is e.empty]
    if keywords:
        raise BuildError(
            f"forward takes {' and '.join(keywords)} by keyword alone, and is called by position",
            "remove the '*' before it",
        )
    return Parameters(
        tuple(each.name for each in named if each.default is each.empty),
        tuple(each.name for each in named if each.default is not each.empty),
        any(each.kind == each.VAR_POSITIONAL for each in parameters),
    )
