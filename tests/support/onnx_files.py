"""Small ONNX files, written by hand."""

from __future__ import annotations

from pathlib import Path

GATHER = """
<ir_version: 8, opset_import: ["": 18]>
small (float[batch, 3] x, int64[batch, length] ids) => (float[batch, 3] scaled, float[batch, length, 2] rows)
<float[3] weight = {1, 2, 3}, float[4, 2] table = {0, 1, 2, 3, 4, 5, 6, 7}>
{
    scaled = Mul (x, weight)
    rows = Gather (table, ids)
}
"""  # noqa: E501


def write(path: Path, text: str = GATHER, weights: str = "") -> Path:
    """Write a graph, in ONNX's own text form, as a file.

    Args:
        path: the file.
        text: the graph.
        weights: the name of a file beside it for its weights; "" keeps them in it.
    """
    import onnx

    model = onnx.parser.parse_model(text)
    for each in model.graph.initializer:  # only raw ones go into another file
        each.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(each), each.name))
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=bool(weights),
        location=weights or None,
        size_threshold=0,
    )
    return path
