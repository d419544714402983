"""Each runtime and precision computes on the GPU what the module computes on the CPU."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from handlers import runtimes
from handlers.device import CPU, choose
from handlers.runtimes import Runtime
from handlers.runtimes.eager import ModuleRuntime
from marsmith import converters
from marsmith.converters import Job
from marsmith.pipeline import timing
from marsmith.verify.difference import compare
from tests.support import gpu
from tests.support.converter_jobs import job

pytestmark = gpu.NEEDED

COSINE = {"fp32": 0.999999, "bf16": 0.999, "fp16": 0.9999}
FORMS = [
    (name, precision)
    for name in runtimes.known()
    for precision in getattr(converters.find(name), "GPU_DEFAULTS", ())
]


class Net(nn.Module):
    """Convolutions, attention and a head, wide enough that TF32 would show."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 128, 3, 2, 1))
        self.attention = nn.MultiheadAttention(128, 4, batch_first=True)
        self.head = nn.Linear(128, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Of images (N, 3, H, W): logits (N, 10)."""
        tokens = self.stem(image).flatten(2).transpose(1, 2)
        mixed = tokens + self.attention(tokens, tokens, tokens)[0]
        logits: torch.Tensor = self.head(mixed.mean(1))
        return logits


def net() -> nn.Module:
    """The same weights each time."""
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def given() -> Job:
    made = job(net(), torch.randn(2, 3, 32, 32), factory="tests.gpu.test_runtimes:net", trace=True)
    return dataclasses.replace(made, device=choose(0))


def load(given: Job, runtime: str, precision: str, folder: Path) -> Runtime:
    converter = converters.find(runtime)
    if runtime == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            pytest.skip("this ONNX Runtime has no CUDA")
    made = converter.convert(given, precision, folder)
    return runtimes.load(runtime, made.model, given.device, made.options)


@pytest.mark.parametrize(("runtime", "precision"), FORMS)
def test_it_computes_what_the_cpu_does(
    given: Job, runtime: str, precision: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        loaded = load(given, runtime, precision, tmp_path)
    assert not caplog.records, "it runs elsewhere"
    reference = ModuleRuntime(net(), CPU)
    for size in (1, 3, 8):
        batch = {"input_0": torch.randn(size, 3, 32, 32)}
        outputs = loaded(batch)
        assert outputs["output"].device == CPU
        found = compare(outputs, reference(batch))["output"]
        assert found.min_cosine > COSINE[precision]
        if precision == "fp32":
            assert found.max_abs_error < 1e-4


class Viewing(nn.Module):
    """Views the images of a convolution as rows, which channels that come last don't allow."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.first(image).view(image.size(0), -1)
        return rows


@pytest.mark.parametrize(("precision", "last"), [("bf16", True), ("fp32", False)])
def test_fewer_bits_for_a_gpu_have_channels_last(
    tmp_path: Path, precision: str, last: bool
) -> None:
    image = torch.rand(2, 3, 8, 8)
    for module in (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), Viewing()):
        given = job(module, image)
        folder = tmp_path / type(module).__name__
        folder.mkdir()
        loaded = load(
            dataclasses.replace(given, device=choose(0)), "torchscript", precision, folder
        )
        output = loaded({"input_0": image})["output"]
        torch.testing.assert_close(output, module(image), atol=2e-2, rtol=0)
        if output.dim() == 4:
            assert output.is_contiguous(memory_format=torch.channels_last) == last


@pytest.mark.parametrize("runtime", ["torchscript", "pt2", "eager"])
def test_what_is_kept_on_the_gpu_stays_there(given: Job, runtime: str, tmp_path: Path) -> None:
    loaded = load(given, runtime, "fp32", tmp_path)
    batch = {"input_0": torch.randn(3, 3, 32, 32, device=given.device)}
    assert loaded(batch)["output"].device == given.device


@pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="there is no triton here")
def test_it_is_compiled_where_it_is_served(given: Job, tmp_path: Path) -> None:
    settings = given.settings.model_copy(update={"compile": True})
    compiled = load(dataclasses.replace(given, settings=settings), "eager", "fp32", tmp_path)
    batch = {"input_0": torch.randn(4, 3, 32, 32)}
    found = compare(compiled(batch), ModuleRuntime(net(), CPU)(batch))["output"]
    assert found.max_abs_error < 1e-4


def test_float32_is_float32(given: Job) -> None:
    layer = nn.Conv2d(64, 64, 3).eval()
    image = torch.randn(2, 64, 16, 16)
    exact = layer.double()(image.double()).float()
    runtime = ModuleRuntime(layer.float().to(given.device), given.device)
    usual = timing.as_by_default(runtime, given.device)
    ours, torchs = (
        float((run({"x": image})["output"] - exact).abs().max()) for run in (runtime, usual)
    )
    print(f"errors of a convolution: {ours:.2g}, and {torchs:.2g} by PyTorch's own settings")
    assert ours < 1e-5
    assert ours < torchs / 10, "TF32 is what is left out"
