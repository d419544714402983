"""How much harm static int8 does through each layer of an ONNX graph, measured once for all.

One graph takes all measurements: the weights of its layers can be given with a run, and the input
of each layer is rounded where that run says so.

See:
    H. Wu et al., Integer Quantization for Deep Learning Inference, section 5.1,
    https://arxiv.org/abs/2004.09602, for layers that are quantised one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlers.runtimes import Tensors
from handlers.runtimes.onnx import matched
from marsmith.report.measurements import LayerHarm

if TYPE_CHECKING:
    import onnx

Arrays = dict[str, np.ndarray]
Outputs = Sequence[Sequence[np.ndarray]]  # by batch

BATCHES, ROWS = 2, 2  # of the calibration data, and of each batch, that harm is measured on
# The axis of the output channels in the weight, each of which has a scale of its own.
CHANNELS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}


def layers_of(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that multiply an activation with a weight, in the graph's order."""
    fixed = {each.name: each for each in graph.initializer}
    return [
        node
        for node in graph.node
        if node.op_type in CHANNELS
        and node.input[0] not in fixed
        and node.input[1] in fixed
        and len(fixed[node.input[1]].dims) > 1
    ]


def measure(path: Path, calibration: Sequence[Tensors], *, whole: bool) -> Iterator[LayerHarm]:
    """Measure what the outputs of a float32 model lose when one layer is quantised, for each layer.

    Args:
        path: the model; its nodes have names.
        calibration: real batches, which ranges of activations are taken from.
        whole: as in `_onnx_quantised.static`.

    Yields:
        Each layer, in the graph's order, as it is measured.
    """
    import onnx

    model = onnx.load(str(path))
    layers = layers_of(model.graph)
    if not layers:
        return
    given = [each.name for each in model.graph.input]
    weights = {each.name: each for each in model.graph.initializer}
    names = [name for name in given if name not in weights]
    feeds = [{n: t.numpy() for n, t in matched(names, batch).items()} for batch in calibration]
    ranges = _ranges(model, sorted({node.input[0] for node in layers}), feeds)
    session = _session(_switchable(model, layers, ranges))
    outputs = [each.name for each in model.graph.output]
    few = [
        {name: array[:ROWS] for name, array in feed.items()}
        for feed in feeds[:: max(1, len(feeds) // BATCHES)][:BATCHES]
    ]
    expected = [session.run(outputs, feed) for feed in few]
    levels = 127 if whole else 63
    for place, node in enumerate(layers):
        weight = onnx.numpy_helper.to_array(weights[node.input[1]])
        change = {
            node.input[1]: _rounded(weight, _channels(node, weight.ndim), levels),
            _switch(place): np.array(True),
        }
        found = [session.run(outputs, feed | change) for feed in few]
        yield LayerHarm(node.name, _title(node), round(_noise(found, expected), 9))


def _title(node: onnx.NodeProto) -> str:
    """The layer's name in the module, where the exporter has left it; else the node's."""
    path = node.input[1].removeprefix("module.").removesuffix(".weight")
    return path if node.input[1].endswith(".weight") else node.name


def _ranges(
    model: onnx.ModelProto, tensors: Sequence[str], feeds: Sequence[Arrays]
) -> dict[str, tuple[float, float]]:
    import onnx

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    asked = []
    for tensor in tensors:
        for kind in ("ReduceMin", "ReduceMax"):
            asked.append(f"marsmith.{kind}.{tensor}")
            probe.graph.node.append(onnx.helper.make_node(kind, [tensor], [asked[-1]], keepdims=0))
            probe.graph.output.append(onnx.ValueInfoProto(name=asked[-1]))
    session = _session(probe)
    seen = np.array([session.run(asked, feed) for feed in feeds], np.float64).reshape(
        len(feeds), -1, 2
    )
    low, high = seen[..., 0].min(0), seen[..., 1].max(0)
    return {name: (low[i], high[i]) for i, name in enumerate(tensors)}


def _switch(place: int) -> str:
    return f"marsmith.rounds.{place}"


def _switchable(
    model: onnx.ModelProto,
    layers: Sequence[onnx.NodeProto],
    ranges: dict[str, tuple[float, float]],
) -> onnx.ModelProto:
    """The model, in which a run may give any layer's weight, and have its input rounded."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph, known = made.graph, {each.name for each in made.graph.input}
    by_name = {node.name: node for node in graph.node}
    stored = {each.name: each for each in graph.initializer}
    added = []
    for place, layer in enumerate(layers):
        node, switch = by_name[layer.name], _switch(place)
        weight = stored[layer.input[1]]
        if weight.name not in known:
            known.add(weight.name)
            kind = onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
            graph.input.append(kind)
        graph.input.append(onnx.helper.make_tensor_value_info(switch, onnx.TensorProto.BOOL, []))
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(False), switch))
        added.append((node, _rounding(node, switch, ranges[layer.input[0]])))
    for node, rounding in added:
        position = list(graph.node).index(node)
        graph.node.insert(position, rounding)
        graph.node[position + 1].input[0] = rounding.output[0]
    return made


def _rounding(node: onnx.NodeProto, switch: str, bounds: tuple[float, float]) -> onnx.NodeProto:
    """A node that rounds a layer's input to 8 bits where its switch is on."""
    import onnx

    low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
    scale = (high - low) / 255 or 1.0
    tensor, out = node.input[0], f"{switch}.out"
    numbers = {"scale": np.float32(scale), "zero": np.uint8(round(-low / scale))}
    constants = [
        onnx.helper.make_node(
            "Constant", [], [f"{switch}.{name}"],
            value=onnx.numpy_helper.from_array(np.array(number)),
        )
        for name, number in numbers.items()
    ]  # fmt: skip
    pair = [f"{switch}.{name}" for name in numbers]
    steps = [
        *constants,
        onnx.helper.make_node("QuantizeLinear", [tensor, *pair], [f"{switch}.q"]),
        onnx.helper.make_node("DequantizeLinear", [f"{switch}.q", *pair], [f"{switch}.then"]),
    ]
    same = [onnx.helper.make_node("Identity", [tensor], [f"{switch}.else"])]

    def branch(name: str, nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
        result = onnx.ValueInfoProto(name=f"{switch}.{name}")
        result.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        return onnx.helper.make_graph(nodes, f"{switch}.{name}", [], [result])

    return onnx.helper.make_node(
        "If", [switch], [out], name=switch,
        then_branch=branch("then", steps), else_branch=branch("else", same),
    )  # fmt: skip


def _channels(node: onnx.NodeProto, rank: int) -> int:
    axis = CHANNELS[node.op_type]
    turned = any(each.name == "transB" and each.i for each in node.attribute)
    return 0 if turned else axis % rank


def _rounded(weight: np.ndarray, axis: int, levels: int) -> np.ndarray:
    others = tuple(each for each in range(weight.ndim) if each != axis)
    scale = np.abs(weight).max(axis=others, keepdims=True) / levels
    scale[scale == 0] = 1
    rounded: np.ndarray = np.round(weight / scale) * scale
    return rounded.astype(weight.dtype)


def _noise(found: Outputs, expected: Outputs) -> float:
    """The power of the error as a share of the output's, of the output that has most of it."""
    shares = []
    for number in range(len(expected[0])):
        error = power = 0.0
        for one, other in zip(found, expected, strict=True):
            right = np.nan_to_num(other[number].astype(np.float64), posinf=0, neginf=0)
            wrong = np.nan_to_num(one[number].astype(np.float64), posinf=0, neginf=0)
            error += float(((wrong - right) ** 2).sum())
            power += float((right**2).sum())
        shares.append(error / power if power else float(error > 0))
    return max(shares)


def _session(model: onnx.ModelProto) -> Any:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # Further passes would fold weights that a run gives, or what rounds.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
