"""Every candidate on a GPU against eager fp32 on the same one: correct first, then fast.

Two models with random weights: the true ResNet-50, and an encoder of BERT-base's shape at 128
tokens. Each runtime and precision is converted for the device, loaded as a worker loads it,
compared with eager fp32, and timed in turns with the others; inputs and outputs travel between
the CPU and the GPU, as they do in a worker.

    python -m benchmarks.gpu [--device cuda] [--batch-size 32] [--small]

Prints a table in Markdown. `--device cpu --small` tries the script itself where there is no GPU.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from examples import resnet50
from handlers import runtimes
from handlers.errors import LoadError
from handlers.runtimes import Runtime, Tensors
from handlers.runtimes.eager import ModuleRuntime
from marsmith import converters
from marsmith.converters import Job
from marsmith.errors import MarsmithError, UnsupportedError
from marsmith.pipeline import timing, trials
from marsmith.recipe.sections import Conversion
from marsmith.sources.factory import Factory
from marsmith.verify import difference

RUNTIMES = ("eager", "torchscript", "pt2", "onnx")
PRECISIONS = ("fp32", "bf16", "fp16")
MIN_COSINE = 0.99
TOKENS = 128


class Encoder(nn.Module):
    """BERT-base's shape: (N, T) token numbers -> (N, 768) mean of the last layer's states."""

    def __init__(self, layers: int = 12, width: int = 768) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30_522, width)
        layer = nn.TransformerEncoderLayer(
            width, width // 64, 4 * width, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embed, encode, and take the mean over the tokens."""
        states: torch.Tensor = self.encoder(self.embedding(tokens))
        return states.mean(1)


def encoder(layers: int = 12, width: int = 768) -> nn.Module:
    """The encoder, as a factory."""
    return Encoder(layers, width)


def images(size: int) -> Tensors:
    """A batch of noise, normalised as photographs are: (size, 3, 224, 224)."""
    return {"image": torch.randn(size, 3, 224, 224)}


def tokens(size: int) -> Tensors:
    """A batch of random token numbers: (size, 128) int64."""
    return {"tokens": torch.randint(30_522, (size, TOKENS))}


def job(module: nn.Module, factory: Factory, batch: Tensors, device: torch.device) -> Job:
    """What a converter is given, without a recipe."""
    return Job(
        module=module, batch=batch, varying={}, outputs=("output",), calibration=(),
        source=factory, settings=Conversion(trace=True), device=device,
    )  # fmt: skip


def attempt(made: Job, runtime: str, precision: str, folder: Path) -> Runtime:
    """Convert and load one candidate."""
    out = folder / f"{runtime}-{precision}"
    out.mkdir()
    log = folder / f"{out.name}.log"
    with trials.captured(log):
        converter = converters.find(runtime)
        if precision not in converter.PRECISIONS:
            raise UnsupportedError(f"{runtime} has no {precision}")
        artifact = converter.convert(made, precision, out)
        return runtimes.load(runtime, artifact.model, made.device, artifact.options)


def prepared(name: str, made: Job, inputs: dict[int, list[Tensors]]) -> None:
    """Print one model's table."""
    reference = ModuleRuntime(made.module.to(made.device), made.device)
    wanted = reference(made.batch)
    contenders: dict[str, Runtime] = {"eager fp32, unchanged": reference}
    rows: list[tuple[str, str]] = []
    made.module.to("cpu")
    with tempfile.TemporaryDirectory() as folder:
        for runtime in RUNTIMES:
            for precision in PRECISIONS:
                candidate = f"{runtime}:{precision}"
                try:
                    loaded = attempt(made, runtime, precision, Path(folder))
                    found = difference.compare(loaded(made.batch), wanted)["output"]
                except (MarsmithError, LoadError, RuntimeError) as error:
                    rows.append((candidate, f"not possible: {str(error).splitlines()[0][:80]}"))
                    continue
                good = found.min_cosine >= MIN_COSINE
                rows.append((candidate, f"{found.max_abs_error:.2g} / {found.min_cosine:.5f}"))
                if good:
                    contenders[candidate] = loaded
        made.module.to(made.device)
        timings = timing.compare(contenders, inputs)
    first = timings["eager fp32, unchanged"]
    size = first.batch_size
    print(f"\n### {name}\n")
    print(f"| candidate | error / cosine | p50 ms at 1 | per s at {size} | × eager |")
    print("|---|---|---|---|---|")
    print(f"| eager fp32, unchanged | | {first.p50_ms:.2f} | {first.samples_per_s:.0f} | 1.00 |")
    for candidate, said in rows:
        figure = timings.get(candidate)
        speed = (
            f"{figure.p50_ms:.2f} | {figure.samples_per_s:.0f} | "
            f"{figure.samples_per_s / first.samples_per_s:.2f}"
            if figure
            else "- | - | -"
        )
        print(f"| {candidate} | {said} | {speed} |")


def main() -> None:
    """Run both models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--small", action="store_true", help="few layers, to try the script")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here; --device cpu --small tries the script")
    torch.manual_seed(0)
    named = torch.cuda.get_device_name(0) if device.type == "cuda" else platform.processor()
    print(f"{named or 'CPU'}, torch {version('torch')}")
    shape: dict[str, Any] = {"blocks": (1, 1, 1, 1), "width": 16} if arguments.small else {}
    net = resnet50.ResNet(**shape).eval()
    source = Factory(factory="examples.resnet50:ResNet", arguments=shape)
    sizes = (1, arguments.batch_size)
    inputs = {size: [images(size)] for size in sizes}
    prepared("ResNet-50", job(net, source, images(2), device), inputs)
    shape = {"layers": 2, "width": 64} if arguments.small else {}
    text = encoder(**shape).eval()
    source = Factory(factory="benchmarks.gpu:encoder", arguments=shape)
    inputs = {size: [tokens(size)] for size in sizes}
    prepared("BERT-base's shape, 128 tokens", job(text, source, tokens(2), device), inputs)


if __name__ == "__main__":
    main()
