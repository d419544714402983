"""ONNX files whose inputs are not all asked for, or don't have the batch first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marsmith.errors import BuildError, reason

PREFIX = "model/"


def write(
    path: Path, out: Path, constants: Mapping[str, object], batch_axes: Mapping[str, int]
) -> None:
    """Write a file anew: constants are part of it, and every batch is the first dimension.

    What the file computes is not touched: it is put between what comes in and what goes out.

    Args:
        path: the ONNX file.
        out: the file to write.
        constants: values of inputs that nobody is to give, by name.
        batch_axes: where inputs and outputs have the batch that don't have it first, by name.

    Raises:
        BuildError: the file has no input or output of a name, or a constant doesn't fit it.
    """
    import onnx

    model: Any = onnx.compose.add_prefix(onnx.load(str(path)), PREFIX)
    graph = model.graph
    weights = {each.name for each in graph.initializer}
    inputs = {e.name.removeprefix(PREFIX): e for e in graph.input if e.name not in weights}
    outputs = {each.name.removeprefix(PREFIX): each for each in graph.output}
    for name in (*constants, *batch_axes):
        if name not in {**inputs, **outputs} or (name in constants and name not in inputs):
            raise BuildError(
                f"{path.name} has no {'input' if name in constants else 'tensor'} {name!r}",
                f"it takes {', '.join(inputs)} and gives {', '.join(outputs)}",
            )
    before, after = [], []
    for name, value in inputs.items():
        if name in constants:
            graph.initializer.append(_constant(name, value, constants[name], path))
        else:
            axis = batch_axes.get(name, 0)
            before.append(_moved(name, PREFIX + name, 0, axis, _rank(value)))
    for name, value in outputs.items():
        axis = batch_axes.get(name, 0)
        after.append(_moved(PREFIX + name, name, axis, 0, _rank(value)))
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    kept = [
        _renamed(value, batch_axes.get(n, 0)) for n, value in inputs.items() if n not in constants
    ]
    given = [_renamed(value, batch_axes.get(name, 0)) for name, value in outputs.items()]
    for field, values in ((graph.input, kept), (graph.output, given)):
        del field[:]
        field.extend(values)
    try:
        onnx.save_model(model, str(out), save_as_external_data=False)
        onnx.checker.check_model(str(out))
    except Exception as error:  # protobuf's and ONNX's own have no other base
        raise BuildError(f"{path.name} can't be adapted: {reason(error)}") from error


def _rank(value: Any) -> int:
    return len(value.type.tensor_type.shape.dim)


def _constant(name: str, value: Any, said: object, path: Path) -> Any:
    import numpy as np
    import onnx

    declared = value.type.tensor_type
    kind = onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type)
    sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in declared.shape.dim]
    wrong = BuildError(
        f"{path.name}: the constant {name!r} must be {kind} of shape {sizes}, where -1 is any size"
    )
    try:
        array = np.asarray(said)
        cast = array.astype(kind)
    except (ValueError, TypeError, OverflowError) as error:
        raise wrong from error
    if array.ndim == 0 and -1 not in sizes:
        cast = np.full(sizes, cast)
    pairs = zip(sizes, cast.shape, strict=False)
    fits = len(sizes) == cast.ndim and all(size in (-1, its) for size, its in pairs)
    if not fits or array.dtype.kind not in "iufb" or (kind.kind in "iub" and (cast != array).any()):
        raise wrong
    return onnx.numpy_helper.from_array(cast, PREFIX + name)


def _moved(source: str, target: str, axis: int, to: int, rank: int) -> Any:
    """A node that moves an axis to another place."""
    import onnx

    if axis == to:
        return onnx.helper.make_node("Identity", [source], [target])
    order = [place for place in range(rank) if place != axis]
    order.insert(to, axis)
    return onnx.helper.make_node("Transpose", [source], [target], perm=order)


def _renamed(value: Any, axis: int) -> Any:
    """What a tensor is declared to be, under its own name and with the batch first."""
    import onnx

    named = onnx.ValueInfoProto()
    named.CopyFrom(value)
    named.name = value.name.removeprefix(PREFIX)
    dims = list(named.type.tensor_type.shape.dim)
    if axis and axis < len(dims):
        dims.insert(0, dims.pop(axis))
        copies = [onnx.TensorShapeProto.Dimension.FromString(d.SerializeToString()) for d in dims]
        del named.type.tensor_type.shape.dim[:]
        named.type.tensor_type.shape.dim.extend(copies)
    return named
