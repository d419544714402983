"""Every candidate on a GPU beside eager fp32 on the same one: correct first, then fast.

Two models with random weights: ResNet-50, and an encoder of BERT-base's shape at 128 tokens. Each
runtime and precision is converted for the device, several at a time in processes of their own,
loaded as a worker loads it, compared with float32, and timed in turns with the others; inputs and
outputs travel between the CPU and the GPU, as they do in a worker.
"""

from __future__ import annotations

import multiprocessing
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from examples import resnet50
from handlers import cpu, runtimes
from handlers import device as devices
from handlers.errors import LoadError
from handlers.runtimes import Runtime, Tensors
from handlers.runtimes.eager import ModuleRuntime
from marsmith import converters
from marsmith.converters import Artifact, Job
from marsmith.errors import MarsmithError, UnsupportedError
from marsmith.pipeline import timing, trials
from marsmith.recipe.sections import Conversion
from marsmith.sources.factory import Factory
from marsmith.verify import difference

RUNTIMES = ("eager", "torchscript", "pt2", "onnx")
PRECISIONS = ("fp32", "bf16", "fp16")
MIN_COSINE = 0.99
TOKENS = 128
AT_ONCE = max(1, min(8, cpu.cores() // 2))  # conversions
UNCHANGED = "eager fp32, PyTorch's own settings"


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


def images(size: int) -> Tensors:
    """A batch of noise, normalised as photographs are: (size, 3, 224, 224)."""
    return {"image": torch.randn(size, 3, 224, 224)}


def tokens(size: int) -> Tensors:
    """A batch of random token numbers: (size, 128) int64."""
    return {"tokens": torch.randint(30_522, (size, TOKENS))}


@dataclass(frozen=True, eq=False)
class Model:
    """One model to try.

    Attributes:
        name: for the table.
        factory: makes it, as a recipe names it.
        arguments: the factory's.
        make: the same.
        batch: makes a batch of a size.
    """

    name: str
    factory: str
    arguments: dict[str, Any]
    make: Callable[..., nn.Module]
    batch: Callable[[int], Tensors]

    def job(self, weights: Path, device: str) -> Job:
        """What a converter is given, without a recipe."""
        module = self.make(**self.arguments).eval()
        load_model(module, weights)
        return Job(
            module=module, batch=self.batch(2), varying={}, outputs=("output",), calibration=(),
            source=Factory(factory=self.factory, arguments=self.arguments),
            settings=Conversion(trace=True), device=torch.device(device),
        )  # fmt: skip


def models(small: bool) -> list[Model]:
    """Both."""
    images_ = {"blocks": (1, 1, 1, 1), "width": 16} if small else {}
    texts = {"layers": 2, "width": 64} if small else {}
    return [
        Model("ResNet-50", "examples.resnet50:ResNet", images_, resnet50.ResNet, images),
        Model(
            "an encoder of BERT-base's shape, 128 tokens",
            "benchmarks.gpu.in_process:Encoder", texts, Encoder, tokens,
        ),
    ]  # fmt: skip


def run(device: str, batch_size: int, *, small: bool) -> None:
    """Print both models' tables."""
    if device == "cuda" and devices.accelerator() is None:
        raise SystemExit("torch sees no GPU here; --device cpu --small tries the script")
    where = devices.choose(0 if device == "cuda" else None)
    named = torch.cuda.get_device_name(0) if device == "cuda" else platform.processor()
    print(f"{named or 'CPU'}, torch {version('torch')}")
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, tuple[Model, nn.Module, Path]] = {}
        for model in models(small):
            here = Path(folder) / str(len(made))
            here.mkdir()
            torch.manual_seed(0)
            module = model.make(**model.arguments).eval()
            save_model(module, str(here / "weights.safetensors"))
            made[model.name] = model, module, here
        found = converted({m: here for m, _, here in made.values()}, str(where))
        for model, module, _ in made.values():
            table(model, module, found[model.name], where, batch_size)


def converted(folders: dict[Model, Path], device: str) -> dict[str, dict[str, Artifact | str]]:
    """Of each model, each candidate's artifact, or why there is none."""
    # What takes longest comes first.
    every = [(runtime, precision) for runtime in reversed(RUNTIMES) for precision in PRECISIONS]
    fresh = multiprocessing.get_context("spawn")  # CUDA can't be forked
    began = time.perf_counter()
    with ProcessPoolExecutor(AT_ONCE, mp_context=fresh) as pool:
        asked = {
            (model.name, *each): pool.submit(convert, model, *each, folder, device)
            for model, folder in folders.items()
            for each in every
        }
        done: dict[str, dict[str, Artifact | str]] = {}
        for (name, *each), found in sorted(asked.items()):
            done.setdefault(name, {})[":".join(each)] = found.result()
    print(f"\nconverted in {time.perf_counter() - began:.0f} s, {AT_ONCE} at a time")
    return done


def convert(
    model: Model, runtime: str, precision: str, folder: Path, device: str
) -> Artifact | str:
    """Convert one candidate."""
    torch.set_num_threads(2)
    out = folder / f"{runtime}-{precision}"
    out.mkdir()
    try:
        with trials.captured(folder / f"{out.name}.log"):
            converter = converters.find(runtime)
            if precision not in converter.PRECISIONS:
                raise UnsupportedError(f"{runtime} has no {precision}")
            job = model.job(folder / "weights.safetensors", device)
            artifact: Artifact = converter.convert(job, precision, out)
            return artifact
    except (MarsmithError, RuntimeError) as error:
        return f"not possible: {str(error).splitlines()[0][:90]}"


def table(
    model: Model,
    module: nn.Module,
    made: dict[str, Artifact | str],
    device: torch.device,
    batch_size: int,
) -> None:
    """Print one model's table, and where the time of a batch goes."""
    reference = ModuleRuntime(module.to(device), device)
    batch = model.batch(8)
    wanted = reference(batch)
    contenders: dict[str, Runtime] = {UNCHANGED: timing.as_by_default(reference, device)}
    said: dict[str, str] = {}
    for name, artifact in made.items():
        if isinstance(artifact, str):
            said[name] = artifact
            continue
        try:
            loaded, memory = _loaded(name, artifact, device)
            found = difference.compare(loaded(batch), wanted)["output"]
        except (LoadError, MarsmithError, RuntimeError) as error:
            said[name] = f"not possible: {str(error).splitlines()[0][:90]}"
            continue
        said[name] = f"{found.max_abs_error:.2g} / {found.min_cosine:.5f} | {memory}"
        if found.min_cosine >= MIN_COSINE:
            contenders[name] = loaded
    inputs = {size: [model.batch(size)] for size in (1, batch_size)}
    timings, _ = timing.compare(contenders, inputs)
    first = timings[UNCHANGED]
    print(f"\n### {model.name}\n")
    print(f"| candidate | error / cosine | MiB | p50 ms at 1 | per s at {batch_size} | × |")
    print("|---|---|---|---|---|---|")
    for name in (UNCHANGED, *made):
        figure = timings.get(name)
        speed = "- | - | -"
        if figure:
            gain = figure.samples_per_s / first.samples_per_s
            speed = f"{figure.p50_ms:.2f} | {figure.samples_per_s:.0f} | {gain:.2f}"
        print(f"| {name} | {said.get(name, '- | -')} | {speed} |")
    if device.type == "cuda":
        for name in ("eager:fp16", "torchscript:fp16", "pt2:fp16"):
            if name in contenders:
                shares(name, contenders[name], inputs[batch_size][0], device)


def _loaded(name: str, artifact: Artifact, device: torch.device) -> tuple[Runtime, str]:
    """The runtime, and how much memory of torch's on the GPU it has taken, in MiB."""
    before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
    runtime = runtimes.load(name.partition(":")[0], artifact.model, device, artifact.options)
    after = torch.cuda.memory_allocated() if device.type == "cuda" else 0
    return runtime, f"{(after - before) / 2**20:.0f}"


def shares(name: str, runtime: Runtime, batch: Tensors, device: torch.device) -> None:
    """Print where the time of a batch goes: to the GPU, on it, and back."""
    there = {key: tensor.to(device) for key, tensor in batch.items()}
    pinned = {key: tensor.pin_memory() for key, tensor in batch.items()}
    steps: dict[str, Callable[[], object]] = {
        "copied to the GPU": lambda: [each.to(device) for each in batch.values()],
        "copied from pinned memory": lambda: [each.to(device) for each in pinned.values()],
        "computed on the GPU": lambda: runtime(there),
        "all, as in a worker": lambda: runtime(batch),
    }
    print(f"\n{name}, a batch of {len(next(iter(batch.values())))}, median ms:", end=" ")
    print(", ".join(f"{what} {_median_ms(step):.2f}" for what, step in steps.items()))


def _median_ms(step: Callable[[], object]) -> float:
    found = []
    for turn in range(30):
        torch.cuda.synchronize()
        began = time.perf_counter()
        step()
        torch.cuda.synchronize()
        if turn >= 5:
            found.append((time.perf_counter() - began) * 1e3)
    return statistics.median(found)
