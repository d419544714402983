"""OpenVINO's models."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.errors import LoadError
from handlers.runtimes import Runtime
from handlers.runtimes.openvino import load
from tests.support.onnx_files import write

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write `scaled = x * (1, 2, 3)` and `rows = table[ids]` in OpenVINO's form."""
    import openvino

    folder = tmp_path_factory.mktemp("openvino")
    written = openvino.Core().read_model(write(folder / "model.onnx"))
    openvino.save_model(written, folder / "model.xml", compress_to_fp16=False)
    return folder / "model.xml"


@pytest.fixture(scope="module")
def runtime(model: Path) -> Runtime:
    """The model, loaded."""
    return load(model, CPU)


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


def test_inputs_of_other_names_are_refused(runtime: Runtime) -> None:
    with pytest.raises(RuntimeError, match=r"inputs \['x', 'ids'\]; \['first', 'second'\]"):
        runtime({"first": torch.rand(2, 3), "second": torch.ones(2, 1, dtype=torch.int64)})


def test_a_later_call_leaves_an_earlier_answer_alone(runtime: Runtime) -> None:
    ids = torch.zeros(2, 1, dtype=torch.int64)
    first = runtime({"x": torch.ones(2, 3), "ids": ids})
    kept = {name: tensor.clone() for name, tensor in first.items()}
    runtime({"x": torch.zeros(2, 3), "ids": ids + 1})
    assert all(torch.equal(first[name], kept[name]) for name in kept)


def test_lengths_without_end_do_not_fill_the_memory(tmp_path: Path) -> None:
    import openvino
    from openvino import opset13

    x = opset13.parameter([-1, 8, -1], np.float32, name="x")
    y = x
    for _ in range(4):
        kernel = opset13.constant(np.ones((8, 8, 3), np.float32))
        y = opset13.relu(opset13.convolution(y, kernel, [1], [1], [1], [1]))
    openvino.save_model(openvino.Model([y], [x], "lengths"), tmp_path / "model.xml")
    runtime = load(tmp_path / "model.xml", CPU)

    def memory_after(lengths: range) -> float:
        for length in lengths:
            runtime({"x": torch.zeros(1, 8, length)})
        return psutil.Process().memory_info().rss / 2**20

    assert -memory_after(range(1, 400)) + memory_after(range(400, 1000)) < 60  # unbounded, 100


@pytest.mark.parametrize(
    "inputs", [{"x": torch.ones(2, 3)}, {"x": torch.ones(2, 4), "ids": torch.ones(2, 1)}]
)
def test_inputs_that_do_not_fit_are_refused(
    runtime: Runtime, inputs: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(RuntimeError, match=r"inputs \['x', 'ids'\]|incompatible"):
        runtime(inputs)


def test_damaged_files_are_named(model: Path, tmp_path: Path) -> None:
    damaged, weights = tmp_path / "model.xml", tmp_path / "model.bin"
    damaged.write_bytes(model.read_bytes())
    with pytest.raises(LoadError, match=r"model\.xml can't be loaded by OpenVINO: .*bin file"):
        load(damaged, CPU)
    weights.write_bytes(model.with_suffix(".bin").read_bytes()[:4])
    with pytest.raises(LoadError, match=r"model\.xml can't be loaded by OpenVINO: .*bin file"):
        load(damaged, CPU)
    damaged.write_text("<net")
    with pytest.raises(LoadError, match=r"model\.xml can't be loaded by OpenVINO: Unable to read"):
        load(damaged, CPU)


def test_an_unknown_precision_is_refused(model: Path) -> None:
    with pytest.raises(LoadError, match=r"model\.xml can't be loaded by OpenVINO: .*f33"):
        load(model, CPU, precision="f33")


def test_a_missing_engine_names_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(LoadError, match="pip install openvino"):
        load(tmp_path / "model.xml", CPU)
