"""ONNX graphs as onnx2tf understands them, for a fixed number of rows or for any."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import onnx

Arrays = dict[str, np.ndarray]
Message = TypeVar("Message", "onnx.ModelProto", "onnx.NodeProto", "onnx.TensorProto")


def specialised(model: onnx.ModelProto, inputs: Arrays, rows: int | None) -> onnx.ModelProto:
    """Make a graph for a fixed number of rows, or for any, in which shapes are constants.

    Converters to other formats lose the rank of tensors that are reshaped to a computed shape.
    Values that depend on shapes alone are computed here for two batch sizes. Those that are equal
    in both become constants. If one number differs, it becomes -1 in the target of a Reshape, and
    1 in that of an Expand, whose consumers then broadcast. The caller must compare the outputs.

    Args:
        model: a ModelProto whose batch is dynamic.
        inputs: three real rows, by the graph's names.
        rows: how many rows the new graph takes; None for any number.

    Returns:
        A new ModelProto.
    """
    import onnx

    model = _copy(model)
    graph = model.graph
    if rows is not None:
        for value in graph.input:
            value.type.tensor_type.shape.dim[0].dim_value = rows
    names = _of_shapes_alone(graph)
    one, other = (
        _observed(model, names, {name: value[:size] for name, value in inputs.items()})
        for size in ((2, 3) if rows is None else (rows, rows))
    )
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in one:
                value = _settled(one[name], other[name], node.op_type if place == 1 else "")
                if value is not None:
                    constant = f"{name}_{len(graph.initializer)}"
                    graph.initializer.append(onnx.numpy_helper.from_array(value, constant))
                    node.input[place] = constant
    _fuse_gelus(model)
    _drop_unused(graph)
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _copy(message: Message) -> Message:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def _of_shapes_alone(graph: onnx.GraphProto) -> list[str]:
    constants = {each.name for each in graph.initializer}
    found = set(constants)
    for node in graph.node:
        if node.op_type in ("Shape", "Size") or all(name in found for name in node.input if name):
            found.update(node.output)
    return sorted(found - constants)


def _observed(model: onnx.ModelProto, names: list[str], inputs: Arrays) -> Arrays:
    import onnx
    import onnxruntime

    if not names:
        return {}
    probe = _copy(model)
    known = {each.name for each in probe.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(names, session.run(names, inputs), strict=True))


def _settled(one: np.ndarray, other: np.ndarray, target_of: str) -> np.ndarray | None:
    """The constant that can replace two observed values; None when none can."""
    if one.shape != other.shape:
        return None
    differs = one != other
    if not differs.any():
        return one
    stand_in = {"Reshape": -1, "Expand": 1}.get(target_of)
    if stand_in is None or differs.sum() > 1:
        return None
    return np.where(differs, stand_in, one).astype(one.dtype)


def _fuse_gelus(model: onnx.ModelProto) -> None:
    """Replace x · (½ · (1 + erf (x / √2))) by a Gelu, because TFLite has Gelu and no erf.

    Gelu is an operator since opset 20, where models of opset 18, as ours are, mean the same.
    """
    default = next(each for each in model.opset_import if not each.domain)
    if default.version < 18:
        return
    made_by = {name: node for node in model.graph.node for name in node.output}

    def source(node: onnx.NodeProto | None, kind: str, place: int) -> onnx.NodeProto | None:
        found = made_by.get(node.input[place]) if node is not None else None
        return found if found is not None and found.op_type == kind else None

    for product in model.graph.node:
        half = source(product, "Mul", 1) if product.op_type == "Mul" else None
        divided = source(source(source(half, "Add", 1), "Erf", 0), "Div", 0)
        if divided is not None and divided.input[0] == product.input[0]:
            product.op_type, product.input[:] = "Gelu", [product.input[0]]
            default.version = max(default.version, 20)


def _drop_unused(graph: onnx.GraphProto) -> None:
    needed = {each.name for each in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(_read_by(node))
            kept.append(node)
    used = [each for each in graph.initializer if each.name in needed]
    for field, items in ((graph.node, kept[::-1]), (graph.initializer, used)):
        copies = [_copy(item) for item in items]
        del field[:]
        field.extend(copies)


def _read_by(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node reads, and those that its branches read from around them."""
    inside = {name for each in node.attribute for n in each.g.node for name in _read_by(n)}
    return inside | set(node.input)
