"""What is done to a graph before onnx2tf gets it; the rest is tested with its converters."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from marsmith.converters._graphs import specialised
from marsmith.converters._onnx2tf import keys
from marsmith.converters.onnx import export
from tests.support.converter_jobs import job

names = st.lists(st.text(min_size=1, max_size=3), unique=True, max_size=4)


@given(names, names)
def test_names_become_words_each_another(inputs: list[str], outputs: list[str]) -> None:
    words = keys(inputs)
    words += keys(outputs, taken=words)
    assert len(words) == len(inputs) + len(outputs)
    assert len(set(words)) == len(words)
    assert all(word.isidentifier() and word.isascii() and word[0].isalpha() for word in words)


def test_names_that_are_words_stay() -> None:
    assert keys(["input_ids", "x", "onnx::Gather_0", "x "]) == [
        "input_ids",
        "x",
        "onnx__Gather_0",
        "x_",
    ]


class Attention(nn.Module):
    """Reshapes, and expands a mask: (N, 6, 8) -> (N, 6, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, width = x.shape
        halves = x.reshape(rows * 2, length // 2, width).mean(1).reshape(rows, 2, width)
        found: torch.Tensor = self.block(x) + halves.repeat(1, length // 2, 1)
        return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, onnx.ModelProto]:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    module = Attention().eval()
    export(job(module, torch.rand(2, 6, 8)), path)
    return module, onnx.load(str(path))


@pytest.mark.parametrize("rows", [None, 1])
def test_shapes_become_constants_and_nothing_else_changes(
    exported: tuple[nn.Module, onnx.ModelProto], rows: int | None
) -> None:
    module, model = exported
    x = torch.rand(3, 6, 8)
    name = model.graph.input[0].name
    before = model.SerializeToString()
    graph = specialised(model, {name: x.numpy()}, rows)
    assert model.SerializeToString() == before
    onnx.checker.check_model(graph, full_check=True)
    kinds = {node.op_type for node in graph.graph.node}
    assert "Gelu" in kinds
    assert not kinds & {"Shape", "Erf"}
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    for count in [rows] if rows else [1, 3, 2]:
        output = session.run(None, {name: x[:count].numpy()})[0]
        with torch.inference_mode():
            np.testing.assert_allclose(output, module(x[:count]).numpy(), atol=1e-5)
