"""ONNX files of lower precision, for ONNX Runtime.

See:
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handlers.runtimes import Tensors
from handlers.runtimes.onnx import matched
from marsmith.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

# The operators to quantise: products, where the time goes, and with ranges known in advance also
# those that can carry integers from one convolution to the next.
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
CARRIERS = ("Add", "AveragePool", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Relu")
BLOCK = 32  # the weights, along a layer's inputs, that share a scale of 4 bits
DYNAMIC = ("Gather", "Gemm", "LSTM", "MatMul")


def half(exported: Path, model: Path) -> None:
    """Write a file with float16 inside; its inputs and outputs stay float32.

    A CPU has few kernels for it; ONNX Runtime casts to float32 and back there.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted = convert_float_to_float16(onnx.load(str(exported)), keep_io_types=True)
    model.write_bytes(converted.SerializeToString(deterministic=True))


def static(
    exported: Path,
    model: Path,
    calibration: Sequence[Tensors],
    *,
    whole: bool,
    kept: Collection[str] = (),
) -> None:
    """Write a file with quantised products, whose ranges come from calibration batches.

    Args:
        exported: the model in float32.
        model: the file to write.
        calibration: real batches.
        whole: use 8 bits of each weight. Else 7: without VNNI, x86 adds two products of 8 bits in
            16, which overflows; 255 × 64 × 2 doesn't.
        kept: the names of nodes that stay in float32, and so does what they read.

    Raises:
        UnsupportedError: there is nothing to quantise.
    """
    import onnx
    from onnxruntime import quantization

    path = prepared(exported)
    graph = onnx.load(str(path)).graph
    spared = _spared(graph, kept)
    quantization.quantize_static(
        path,
        model,
        _Batches(graph, calibration),
        op_types_to_quantize=list(PRODUCTS if has_attention(graph) else PRODUCTS + CARRIERS),
        nodes_to_exclude=sorted(spared),
        activation_type=quantization.QuantType.QUInt8,
        extra_options={
            # Products of activations lose too much in attention. The output of a linear layer is
            # added to something, or is the answer.
            "MatMulConstBOnly": True,
            "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],
        },
        per_channel=True,
        reduce_range=not whole,
    )
    if spared:
        made = onnx.load(str(model))
        _read_unrounded(made.graph, spared)
        model.write_bytes(made.SerializeToString(deterministic=True))


def prepared(exported: Path) -> Path:
    """Write the graph as `static` quantises it.

    Raises:
        UnsupportedError: there is nothing to quantise.
    """
    return _prepared(exported, PRODUCTS, "no convolution or linear layer", "use fp32")


def _spared(graph: onnx.GraphProto, kept: Collection[str]) -> set[str]:
    """The nodes to keep, and those that carry activations to them.

    What several activations are joined in is the last: beyond it would be the whole of a residual
    network.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    fixed, spared = _fixed(graph), set(kept)
    for node in graph.node:
        reached = node if node.name in kept else None
        while reached is not None:
            read = [name for name in reached.input if name and name not in fixed]
            before = made_by.get(read[0]) if read and (reached is node or len(read) == 1) else None
            reached = before if before is not None and before.op_type in CARRIERS else None
            if reached is not None:
                spared.add(reached.name)
    return spared


def _read_unrounded(graph: onnx.GraphProto, spared: Collection[str]) -> None:
    """Let nodes read what was there before it was rounded; drop roundings that nobody reads."""
    made_by = {name: node for node in graph.node for name in node.output}

    def before(name: str) -> str:
        back = made_by.get(name)
        if back is None or back.op_type != "DequantizeLinear":
            return name
        rounding = made_by.get(back.input[0])
        return rounding.input[0] if rounding and rounding.op_type == "QuantizeLinear" else name

    for node in graph.node:
        if node.name in spared:
            node.input[:] = [before(name) for name in node.input]
    for kind in ("DequantizeLinear", "QuantizeLinear"):
        read = {name for node in graph.node for name in node.input}
        read |= {each.name for each in graph.output}
        unread = [n for n in graph.node if n.op_type == kind and not read & {*n.output}]
        for node in unread:
            graph.node.remove(node)


def dynamic(exported: Path, model: Path, *, whole: bool) -> None:
    """Write a file with quantised linear layers and embeddings; their ranges are taken at run time.

    See `static` for its arguments.

    Raises:
        UnsupportedError: there are none.
    """
    from onnxruntime import quantization

    path = _prepared(exported, DYNAMIC, "no linear layer", "use int8 for convolutions")
    # The quantiser turns each Gemm into a MatMul.
    kinds = [op for op in DYNAMIC if op != "Gemm"]
    quantization.quantize_dynamic(
        path, model, op_types_to_quantize=kinds, per_channel=True, reduce_range=not whole
    )


def weight_only(exported: Path, model: Path) -> None:
    """Write a file whose linear layers have weights of 4 bits, and whose embeddings have 8.

    Activations stay in float32. There is no such form of 8 bits: ONNX Runtime 1.31's kernel for it
    took many times as long as that of 4, unless it may round activations, too.

    Raises:
        UnsupportedError: there are no linear layers.

    See:
        https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    from onnxruntime.quantization.onnx_model import ONNXModel

    path = _prepared(exported, ("Gemm", "MatMul"), "no linear layer", "use int8 for convolutions")
    quantization.quantize_dynamic(path, path, op_types_to_quantize=["Gather"], per_channel=True)
    plain = ONNXModel(onnx.load(str(path)))
    plain.replace_gemm_with_matmul()
    quantiser = MatMulNBitsQuantizer(plain.model, bits=4, block_size=BLOCK)
    quantiser.process()
    made = quantiser.model.model
    if not any(node.op_type == "MatMulNBits" for node in made.graph.node):
        raise UnsupportedError("this model has nothing to compress to 4 bits", "use fp32")
    model.write_bytes(made.SerializeToString(deterministic=True))


def has_attention(graph: onnx.GraphProto) -> bool:
    """Whether a graph multiplies activations with each other, beside a softmax."""
    fixed = _fixed(graph) | {node.output[0] for node in graph.node if node.op_type == "Constant"}
    products = any(n.op_type == "MatMul" and n.input[1] not in fixed for n in graph.node)
    return products and any(node.op_type == "Softmax" for node in graph.node)


def _fixed(graph: onnx.GraphProto) -> set[str]:
    return {each.name for each in graph.initializer}


class _Batches:
    """An iterator of calibration batches, as the quantiser reads them."""

    def __init__(self, graph: onnx.GraphProto, batches: Sequence[Tensors]) -> None:
        # Old files list their weights among their inputs.
        names = [each.name for each in graph.input if each.name not in _fixed(graph)]
        self._rest = (
            {name: tensor.numpy() for name, tensor in matched(names, batch).items()}
            for batch in batches
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch; None after the last."""
        return next(self._rest, None)


def _prepared(exported: Path, takes: tuple[str, ...], lacks: str, hint: str) -> Path:
    """Write the graph folded and with all its shapes, as the quantiser needs it."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = exported.with_name("prepared.onnx")
    # Exported graphs have their symbolic shapes; inferring them anew fails on some.
    quant_pre_process(exported, path, skip_symbolic_shape=True)
    model = onnx.load(str(path))
    for node in model.graph.node:  # OpenVINO, too, calls a nameless node by its output
        node.name = node.name or node.output[0]
    if not any(node.op_type in takes for node in model.graph.node):
        raise UnsupportedError(f"this model has {lacks} to quantise", hint)
    # The quantiser transposes weights, and then finds other shapes noted for them.
    fixed = _fixed(model.graph)
    noted = [each for each in model.graph.value_info if each.name not in fixed]
    del model.graph.value_info[:]
    model.graph.value_info.extend(noted)
    onnx.save(model, str(path))
    return path
