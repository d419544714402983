"""The shipped `minilm` against the same model in eager PyTorch, in batches of 8 x 128 tokens.

    marsmith build archiver_configs/minilm.yaml
    python -m benchmarks.minilm [--archive model_store/minilm.mar] [--tokens 128] [--batch-size 8]

The model alone, in one process, in turns, with all cores; and how like the original it answers.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

import torch

from handlers import runtimes
from handlers.runtimes import Runtime
from handlers.runtimes.eager import ModuleRuntime
from marsmith.archive.reading import inspect
from marsmith.cache import Cache
from marsmith.pipeline import timing
from marsmith.recipe import reading
from marsmith.verify import difference

RECIPE = Path("archiver_configs/minilm.yaml")
FIRST_WORD, WORDS = 1000, 29_000  # token numbers that stand for words, not for special tokens
CPU = torch.device("cpu")


def tokens(rows: int, length: int) -> dict[str, torch.Tensor]:
    """Random words: (rows, length) int64, and all of them count."""
    ids = torch.randint(FIRST_WORD, WORDS, (rows, length))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def main() -> None:
    """Compare, and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, default=Path("model_store/minilm.mar"))
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    cache = Cache(arguments.archive.parent / ".cache")  # its source makes nothing that is kept
    original = reading.load(RECIPE).source.load(cache, print)
    found = inspect(arguments.archive)
    section, file = found["config"]["handler"], found["manifest"]["model"]["serializedFile"]
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(arguments.archive) as archive:
            archive.extractall(folder)
        shipped = runtimes.load(
            section["runtime"], Path(folder, file), CPU, section.get("runtime_options", {})
        )
        eager = ModuleRuntime(original, CPU)
        contenders: dict[str, Runtime] = {"eager": eager, "shipped": shipped}
        sizes = sorted({1, arguments.batch_size})
        inputs = {size: [tokens(size, arguments.tokens) for _ in range(2)] for size in sizes}
        batch = inputs[max(sizes)][0]
        compared = difference.compare(shipped(batch), eager(batch))
        timings, _ = timing.compare(contenders, inputs)
    print(f"{section['runtime']}:{section['precision']}, {torch.get_num_threads()} threads")
    for name, figure in timings.items():
        print(f"{name}: {figure.samples_per_s:.1f}/s, {figure.p50_ms:.1f} ms at batch 1")
    ratio = timings["shipped"].samples_per_s / timings["eager"].samples_per_s
    cosine = min(each.min_cosine for each in compared.values())
    print(
        f"{ratio:.2f} x eager at {arguments.batch_size} x {arguments.tokens}; cosine {cosine:.4f}"
    )


if __name__ == "__main__":
    main()
