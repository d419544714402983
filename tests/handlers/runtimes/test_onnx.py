"""ONNX files in ONNX Runtime."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.errors import LoadError
from handlers.runtimes import Runtime
from handlers.runtimes.onnx import load
from tests.support.onnx_files import write

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """`scaled = x * (1, 2, 3)` and `rows = table[ids]`, the table 0 to 7 in rows of two."""
    return load(write(tmp_path_factory.mktemp("onnx") / "model.onnx"), CPU)


@given(st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=20)
def test_named_tensors_of_any_batch_go_in_and_come_out(
    runtime: Runtime, batch: int, length: int
) -> None:
    x, ids = torch.rand(batch, 3), torch.randint(0, 4, (batch, length))
    for inputs in ({"x": x, "ids": ids}, {"unused": ids, "ids": ids, "x": x}):
        outputs = runtime(inputs)
        assert list(outputs) == ["scaled", "rows"]
        torch.testing.assert_close(outputs["scaled"], x * torch.tensor([1.0, 2.0, 3.0]))
        assert torch.equal(outputs["rows"], torch.arange(8.0).reshape(4, 2)[ids])


def test_tensors_are_cast_to_what_the_file_takes(runtime: Runtime) -> None:
    x = torch.rand(2, 3, dtype=torch.float64)
    outputs = runtime({"x": x, "ids": torch.ones(2, 1, dtype=torch.int32)})
    assert outputs["scaled"].dtype == torch.float32


def test_a_later_call_leaves_an_earlier_answer_alone(runtime: Runtime) -> None:
    ids = torch.zeros(2, 1, dtype=torch.int64)
    first = runtime({"x": torch.ones(2, 3), "ids": ids})
    kept = {name: tensor.clone() for name, tensor in first.items()}
    runtime({"x": torch.zeros(2, 3), "ids": ids + 1})
    assert all(torch.equal(first[name], kept[name]) for name in kept)


def test_a_single_tensor_may_have_another_name_than_the_files(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["": 18]> m (float[n] x) => (float[n] y) '
    runtime = load(write(tmp_path / "model.onnx", text + "{ y = Identity (x) }"), CPU)
    assert runtime({"image": torch.ones(2)})["y"].tolist() == [1, 1]


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": torch.ones(2, 3)},
        {"first": torch.ones(2, 3), "second": torch.ones(2, 1)},
        {"x": torch.ones(2, 4), "ids": torch.ones(2, 1)},
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    runtime: Runtime, inputs: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(RuntimeError, match=r"inputs \['x', 'ids'\]|can't run model.onnx"):
        runtime(inputs)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x08\x08"])
def test_a_file_that_is_not_onnx_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(LoadError, match=r"model\.onnx can't be loaded by ONNX Runtime"):
        load(tmp_path / "model.onnx", CPU)


def test_strings_are_refused(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["": 18]> m (string[n] x) => (string[n] y) '
    path = write(tmp_path / "model.onnx", text + "{ y = Identity (x) }")
    with pytest.raises(LoadError, match=r"'x' is a tensor\(string\), not a tensor of numbers"):
        load(path, CPU)


def test_a_missing_engine_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(LoadError, match="pip install onnxruntime"):
        load(tmp_path / "model.onnx", CPU)
