"""Modules as they are: weights in safetensors, code in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from handlers.errors import LoadError
from handlers.runtimes.eager import ModuleRuntime, load

CPU = torch.device("cpu")
CODE = """
from torch import nn

def make(width=3):
    return nn.Linear(width, 2)
"""


@pytest.fixture
def weights(tmp_path: Path) -> Iterator[Path]:
    """Write weights, and beside them a file `eager_code.py` that they fit, for one test."""
    (tmp_path / "eager_code.py").write_text(CODE)
    save_model(nn.Linear(3, 2), str(tmp_path / "model.safetensors"))
    yield tmp_path / "model.safetensors"
    sys.modules.pop("eager_code", None)


def test_the_factory_makes_it_and_the_file_fills_it(weights: Path) -> None:
    runtime = load(weights, CPU, factory="eager_code:make", arguments={"width": 3})
    output = runtime({"x": torch.zeros(4, 3)})["output"]
    assert output.shape == (4, 2)
    assert not output.requires_grad
    again = load(weights, CPU, factory="eager_code:make")
    torch.testing.assert_close(again({"x": torch.zeros(4, 3)})["output"], output)


def test_the_code_is_that_beside_the_weights_and_not_an_earlier_one(weights: Path) -> None:
    load(weights, CPU, factory="eager_code:make")
    (weights.parent / "eager_code.py").write_text(CODE.replace("make", "assemble"))
    load(weights, CPU, factory="eager_code:assemble")


@pytest.mark.parametrize("factory", ["no_such:make", "eager_code:mk", "eager_code", "", ":make"])
def test_a_factory_that_is_not_there_is_named(weights: Path, factory: str) -> None:
    with pytest.raises(LoadError, match=f"no model factory '{factory}' in this archive"):
        load(weights, CPU, factory=factory)


def test_weights_that_do_not_fit_are_refused(weights: Path) -> None:
    with pytest.raises(LoadError, match=r"model\.safetensors doesn't fit eager_code:make"):
        load(weights, CPU, factory="eager_code:make", arguments={"width": 4})
    save_file({"other": torch.ones(1)}, str(weights))
    with pytest.raises(LoadError, match=r"model\.safetensors doesn't fit"):
        load(weights, CPU, factory="eager_code:make")


def test_it_computes_in_the_dtype_that_is_asked_for(weights: Path) -> None:
    runtime = load(weights, CPU, factory="eager_code:make", dtype="bf16")
    expected = load(weights, CPU, factory="eager_code:make")({"x": torch.ones(4, 3)})["output"]
    output = runtime({"x": torch.ones(4, 3)})["output"]
    assert output.dtype == torch.float32
    assert not torch.equal(output, expected)
    torch.testing.assert_close(output, expected, atol=0.02, rtol=0)
    with pytest.raises(LoadError, match="there is no dtype 'int4'; there are: bf16, fp16"):
        load(weights, CPU, factory="eager_code:make", dtype="int4")


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 64, b"\x08\x00\x00\x00\x00\x00\x00\x00{}"],
    ids=["empty", "noise", "short"],
)
def test_a_file_that_is_not_safetensors_is_refused(weights: Path, content: bytes) -> None:
    weights.write_bytes(content)
    with pytest.raises(LoadError, match=r"model\.safetensors is not a safetensors file"):
        load(weights, CPU, factory="eager_code:make")


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (lambda x: x, ["output"]),
        (lambda x: (x, x), ["output_0", "output_1"]),
        (lambda x: [x], ["output_0"]),
        (lambda x: {"boxes": x}, ["boxes"]),
    ],
)
def test_outputs_have_names(outputs: Any, names: list[str]) -> None:
    assert list(ModuleRuntime(outputs, CPU)({"x": torch.ones(1)})) == names


class Difference(nn.Module):
    def forward(self, minuend: torch.Tensor, subtrahend: torch.Tensor) -> torch.Tensor:
        return minuend - subtrahend


def test_inputs_go_in_by_their_names_and_without_any_as_they_come() -> None:
    module = Difference()
    given = {"subtrahend": torch.tensor(3.0), "minuend": torch.tensor(5.0)}
    names = ["minuend", "subtrahend"]
    runtime = ModuleRuntime(module, CPU, differentiable=lambda: module, inputs=names)
    assert runtime(given)["output"] == runtime.gradients(given)["output"] == 2
    assert ModuleRuntime(module, CPU)(given)["output"] == -2


@pytest.mark.parametrize(
    "given", [["minuend"], ["minuend", "other"], ["subtrahend", "minuend", "x"]]
)
def test_inputs_of_other_names_are_refused(given: list[str]) -> None:
    runtime = ModuleRuntime(Difference(), CPU, inputs=["minuend", "subtrahend"])
    words = f"the model takes minuend, subtrahend; {', '.join(given)} were given"
    with pytest.raises(RuntimeError, match=words):
        runtime({name: torch.ones(1) for name in given})


def test_outputs_stay_on_a_device_that_an_input_is_on() -> None:
    meta = torch.device("meta")  # has shapes alone, and can't become a tensor of the CPU
    runtime = ModuleRuntime(nn.Linear(3, 2, device=meta), meta)
    assert runtime({"x": torch.zeros(4, 3, device=meta)})["output"].device == meta
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        runtime({"x": torch.zeros(4, 3)})
