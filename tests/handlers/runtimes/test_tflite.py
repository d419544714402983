"""TFLite files in LiteRT."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from handlers.errors import LoadError
from handlers.runtimes import Runtime, Tensors
from handlers.runtimes.tflite import load
from marsmith.converters import Artifact
from marsmith.converters.tflite import convert
from tests.support.converter_jobs import job

CPU = torch.device("cpu")


class Upscaler(nn.Module):
    """Two images and an integer each: (N, 3, 6, 4) twice, (N,) -> a map, another, a number."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(3, 5, 3, padding=1)
        self.widen = nn.ConvTranspose2d(5, 2, 2, 2)

    def forward(
        self, left: torch.Tensor, right: torch.Tensor, times: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        features = torch.relu(self.narrow(left - 2 * right))
        return {"zoomed": self.widen(features), "features": features, "next": times + 1}


def batch(rows: int) -> tuple[torch.Tensor, ...]:
    return torch.rand(rows, 3, 6, 4), torch.rand(rows, 3, 6, 4), torch.randint(0, 9, (rows,))


def called(tensors: tuple[torch.Tensor, ...]) -> Tensors:
    """Tensors by the names that the job gives them."""
    return {f"input_{index}": tensor for index, tensor in enumerate(tensors)}


pytestmark = pytest.mark.slow  # LiteRT and the conversion take ten seconds to begin


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Artifact]:
    torch.manual_seed(0)
    module = Upscaler()
    return module, convert(job(module, *batch(2)), "fp32", tmp_path_factory.mktemp("tflite"))


@pytest.fixture(scope="module")
def runtime(converted: tuple[nn.Module, Artifact]) -> Runtime:
    return load(converted[1].model, CPU, **converted[1].options)


@pytest.mark.parametrize("rows", [1, 5, 2])
def test_inputs_go_in_by_name_and_named_outputs_come_out_as_pytorch_has_them(
    converted: tuple[nn.Module, Artifact], runtime: Runtime, rows: int
) -> None:
    given = batch(rows)
    outputs = runtime(dict(reversed(called(given).items())))
    expected = converted[0](*given)
    assert list(outputs) == list(expected)
    for name, tensor in outputs.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=0)


def test_tensors_are_cast_to_what_the_file_takes(runtime: Runtime) -> None:
    left, right, times = batch(2)
    outputs = runtime(called((left.double(), right, times.int())))
    assert outputs["zoomed"].dtype == torch.float32
    assert torch.equal(outputs["next"], times + 1)


def test_a_later_call_leaves_an_earlier_answer_alone(runtime: Runtime) -> None:
    first = runtime(called(batch(2)))
    kept = {name: tensor.clone() for name, tensor in first.items()}
    runtime(called(batch(2)))
    assert all(torch.equal(first[name], kept[name]) for name in kept)


def test_a_model_for_single_rows_takes_a_batch_row_by_row(
    converted: tuple[nn.Module, Artifact], runtime: Runtime
) -> None:
    options = {**converted[1].options, "rows": 1}
    inputs = called(batch(3))
    outputs = load(converted[1].model, CPU, **options)(inputs)
    for name, tensor in runtime(inputs).items():
        torch.testing.assert_close(outputs[name], tensor)


@pytest.mark.parametrize("inputs", [batch(2)[:2], (torch.rand(2, 7), *batch(2)[1:])])
def test_inputs_that_do_not_fit_are_an_error(
    runtime: Runtime, inputs: tuple[torch.Tensor, ...]
) -> None:
    with pytest.raises((RuntimeError, ValueError)):
        runtime(called(inputs))
    runtime(called(batch(2)))


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\0" * 4096], ids=["empty", "noise", "0"])
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(LoadError, match=r"model\.tflite can't be loaded by LiteRT"):
        load(tmp_path / "model.tflite", CPU, inputs={"x": "x"}, outputs={"y": "y"})


@pytest.mark.parametrize(
    "options", [{"inputs": {"input_0": "time"}}, {"outputs": {"zoomed": "time"}}]
)
def test_a_file_with_other_names_is_refused(
    converted: tuple[nn.Module, Artifact], options: dict[str, Any]
) -> None:
    with pytest.raises(LoadError, match=r"model\.tflite has no input or output time"):
        load(converted[1].model, CPU, **{**converted[1].options, **options})


def test_without_litert_the_error_says_what_to_install(
    converted: tuple[nn.Module, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(LoadError, match=r"tflite needs LiteRT \(pip install ai-edge-litert\)"):
        load(converted[1].model, CPU, **converted[1].options)
