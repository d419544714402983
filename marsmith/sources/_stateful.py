"""TorchScript that keeps state in attributes, as a module whose state goes in and comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from marsmith.errors import BuildError

PLAIN = {"int": int, "float": float, "bool": bool, "str": str}
NEXT = "next_"


class _Holder(torch.nn.Module):
    """What `define` gives a `forward` to."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model


def adapted(
    module: torch.nn.Module,
    constants: Mapping[str, object],
    state: Mapping[str, int],
    reset: Sequence[str],
) -> torch.nn.Module:
    """Wrap a TorchScript module in one that takes what `forward` takes, and then its state.

    The input of an attribute is called as that is, without what it begins with of "_", and "_" for
    ".". What becomes of it is a further output, of that name behind "next_".

    Args:
        module: as it was loaded.
        constants: what `forward` takes and nobody gives, by name.
        state: attributes, such as "_state" or "decoder.hidden", and the axis of their batch.
        reset: attributes that begin each call with the value that they have in the file.

    Raises:
        BuildError: it has no such parameter or attribute, or keeps something else besides.
    """
    script: Any = module
    _check(script, constants, state, reset)
    taken = [each for each in script.forward.schema.arguments[1:] if not _left_out(each, constants)]
    names = {path: path.replace(".", "_").lstrip("_") for path in state}
    parameters = [each.name for each in taken] + [*names.values()]
    lines = [f"self.model.{path} = {_value(script, path)!r}" for path in reset]
    lines += [
        f"self.model.{path} = {names[path]}.transpose(0, {axis}).contiguous()"
        for path, axis in state.items()
    ]
    given = [f"{each.name}={each.name}" for each in taken]
    given += [f"{name}={value!r}" for name, value in constants.items()]
    lines.append(f"found = self.model.forward({', '.join(given)})")
    outputs = _outputs(str(script.forward.schema.returns[0].type))
    outputs |= {
        f"{NEXT}{names[path]}": f"self.model.{path}.transpose(0, {axis})"
        for path, axis in state.items()
    }
    answered = ", ".join(f'"{name}": {value}' for name, value in outputs.items())
    lines.append(f"return {{{answered}}}")
    signature = ", ".join(["self", *(f"{name}: Tensor" for name in parameters)])
    holder: Any = torch.jit.script(_Holder(script).eval().requires_grad_(False))
    holder.define("\n    ".join([f"def forward({signature}) -> Dict[str, Tensor]:", *lines]) + "\n")
    made: torch.nn.Module = holder
    return made


def check_arguments(module: torch.nn.Module) -> None:
    """Refuse a module that must be given something else than tensors.

    Raises:
        BuildError: which it is, and how to say it.
    """
    schema = getattr(getattr(module, "forward", None), "schema", None)
    for each in schema.arguments[1:] if schema else ():
        if not each.has_default_value() and str(each.type) in PLAIN:
            raise BuildError(
                f"forward takes {each.name!r}, of the type {each.type}: requests give tensors",
                f"say it in the recipe's source: constants: {{{each.name}: ...}}",
            )


def _left_out(argument: Any, constants: Mapping[str, object]) -> bool:
    return argument.name in constants or argument.has_default_value()


def _check(
    script: Any, constants: Mapping[str, object], state: Mapping[str, int], reset: Sequence[str]
) -> None:
    kinds = {each.name: str(each.type) for each in script.forward.schema.arguments[1:]}
    for name, value in constants.items():
        wanted = PLAIN.get(kinds.get(name, ""))
        if wanted is None or type(value) is not wanted:
            raise BuildError(
                f"constants: {name}: {value!r} is nothing that forward takes; it takes "
                + ", ".join(f"{each}: {kind}" for each, kind in kinds.items())
            )
    changed = _changed(script)
    for path in (*state, *reset):
        if path not in changed:
            raise BuildError(
                f"the module doesn't change an attribute {path!r} as it runs; it changes "
                + (", ".join(changed) or "none")
            )
        if isinstance(_value(script, path), torch.Tensor) != (path in state):
            raise BuildError(f"{path} is of 'state' if it is a tensor, of 'reset' otherwise")
    for path in changed:
        if path not in (*state, *reset):
            value = _value(script, path)
            tensor = isinstance(value, torch.Tensor)
            told = "a tensor" if tensor else f"{value!r} in the file"
            how = f"state: {{{path}: AXIS}}, with the axis of its batch" if tensor else (
                f"reset: [{path}], if each call may begin with that value, as the first does"
            )  # fmt: skip
            raise BuildError(
                f"the module keeps {path} from call to call, too: {told}",
                f"say it in the recipe's source: {how}",
            )


def _changed(script: Any) -> dict[str, None]:
    """The paths of the attributes that running a module sets, in the order of its code."""
    found: dict[str, None] = {}
    graph = script.inlined_graph  # its nodes are gone with it
    for node in graph.findAllNodes("prim::SetAttr"):
        path, value = node.s("name"), next(node.inputs())
        while value.node().kind() == "prim::GetAttr":
            path = f"{value.node().s('name')}.{path}"
            value = next(value.node().inputs())
        found[path] = None
    return found


def _value(script: Any, path: str) -> object:
    for name in path.split("."):
        script = getattr(script, name)
    return script


def _outputs(kind: str) -> dict[str, str]:
    """What a module returns, by the names that it has elsewhere; see `eager.named`."""
    if kind == "Tensor":
        return {"output": "found"}
    parts = kind.removeprefix("Tuple[").removesuffix("]").split(", ")
    if kind.startswith("Tuple[") and set(parts) == {"Tensor"}:
        return {f"output_{place}": f"found[{place}]" for place in range(len(parts))}
    raise BuildError(f"forward returns {kind}; with 'state' it must return tensors")
