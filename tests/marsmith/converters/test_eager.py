from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from examples.digits import model
from handlers import runtimes
from handlers.errors import LoadError
from handlers.runtimes import Runtime
from marsmith.converters import Artifact
from marsmith.converters.eager import PRECISIONS, convert
from marsmith.errors import UnsupportedError
from marsmith.sources.torchscript import TorchScriptFile as TorchscriptSource
from tests.support.converter_jobs import job

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _forget_the_copied_code() -> Iterator[None]:
    yield
    for name in [name for name in sys.modules if name.startswith("model_")]:
        del sys.modules[name]


def load(artifact: Artifact) -> Runtime:
    return runtimes.load("eager", artifact.model, CPU, artifact.options)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_gives_the_modules_answers(tmp_path: Path, precision: str) -> None:
    torch.manual_seed(0)
    module, image = model(), torch.rand(3, 1, 8, 8)
    artifact = convert(job(module, image[:1]), precision, tmp_path)
    output = load(artifact)({"input_0": image})["output"]
    assert output.dtype == torch.float32
    assert torch.cosine_similarity(output, module(image)).min() > 0.999
    assert artifact.options["channels_last"]
    stored = {weight.dtype for weight in load_file(artifact.model).values()} - {torch.int64}
    assert stored == {{"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)}


def test_equal_modules_give_equal_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        torch.manual_seed(0)
        (tmp_path / name).mkdir()
        artifact = convert(job(model(), torch.rand(1, 1, 8, 8)), "bf16", tmp_path / name)
        written.append([file.read_bytes() for file in (artifact.model, *artifact.files)])
    assert written[0] == written[1]


class Viewing(nn.Module):
    """A convolution whose result must be contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.convolution(image).view(len(image), -1)
        return found


def test_images_stay_as_they_are_where_the_code_needs_it(tmp_path: Path) -> None:
    module, image = Viewing(), torch.rand(3, 2, 8, 8)
    artifact = convert(job(module, image, factory=f"{__name__}:Viewing"), "fp32", tmp_path)
    assert "channels_last" not in artifact.options
    torch.testing.assert_close(load(artifact)({"input_0": image})["output"], module(image))


def test_weights_that_a_pass_made_smaller_need_another_runtime(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="the weights no longer fit") as caught:
        convert(job(model(width=8), torch.rand(1, 1, 8, 8)), "fp32", tmp_path)
    assert "'runtime: torchscript' or 'onnx'" in caught.value.hint


def test_a_source_without_code_needs_another_runtime(tmp_path: Path) -> None:
    given = job(model(), torch.rand(1, 1, 8, 8))
    given = dataclasses.replace(given, source=TorchscriptSource(torchscript=tmp_path / "model.pt"))
    with pytest.raises(UnsupportedError, match="eager needs a source with a factory"):
        convert(given, "fp32", tmp_path)


def test_quantised_modules_are_torchscripts(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="eager runs no int8; it runs fp32, bf16, fp16"):
        convert(job(model(), torch.rand(1, 1, 8, 8)), "int8", tmp_path)


def test_without_a_compiler_a_compiled_module_does_not_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = convert(job(model(), torch.rand(1, 1, 8, 8), compile=True), "fp32", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    from torch._inductor.cpp_builder import cpp_compiler_search

    cpp_compiler_search.cache_clear()
    with pytest.raises(LoadError, match=r"needs a C\+\+ compiler.*apt-get install g\+\+"):
        load(artifact)


@pytest.mark.slow
def test_a_compiled_module_answers_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    torch.manual_seed(0)
    module = model()
    runtime = load(convert(job(module, torch.rand(1, 1, 8, 8), compile=True), "fp32", tmp_path))
    for rows in (1, 3, 8):
        image = torch.rand(rows, 1, 8, 8)
        torch.testing.assert_close(
            runtime({"input_0": image})["output"], module(image), atol=1e-5, rtol=0
        )
