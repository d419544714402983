"""The best items of a large catalogue: every item scored, against an index's candidates.

    python -m benchmarks.ranking [--items 100000 1000000] [--width 64]

Items lie around centres, as trained vectors do, and users near items. Both ways answer the same
users in turns, in one process; the index is faiss's IVF, and its candidates are scored exactly.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handlers.ranking.ranking import Ranking, Wish
from handlers.runtimes import Runtime, Tensors
from marsmith.pipeline import timing

TOP, CANDIDATES, BATCH, USERS = 10, 200, 32, 256
CENTRES, SPREAD = 1024, 0.5
PROBED = 32  # of the index's cells, for each user


def vectors(items: int, width: int) -> np.ndarray:
    """(items, width) float32, around centres."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(CENTRES, width))
    near = centres[random.integers(CENTRES, size=items)]
    return (near + SPREAD * random.normal(size=near.shape)).astype(np.float32)


def rankings(items: np.ndarray, folder: Path) -> dict[str, Ranking]:
    """Both ways, read from the files that an archive would have."""
    import faiss

    np.save(folder / "vectors.npy", items)
    index: Any = faiss.index_factory(
        items.shape[1], f"IVF{CENTRES},Flat", faiss.METRIC_INNER_PRODUCT
    )
    index.train(items[: 64 * CENTRES])
    index.add(items)
    index.nprobe = PROBED
    faiss.write_index(index, str(folder / "index.faiss"))
    file = folder / "vectors.npy"
    return {
        "exact": Ranking(len(items), file, None, CANDIDATES),
        "index": Ranking(len(items), file, folder / "index.faiss", CANDIDATES),
    }


def measure(count: int, width: int) -> None:
    """Print how fast either is, and how many of the exact best the index finds."""
    items = vectors(count, width)
    random = np.random.default_rng(1)
    users = torch.from_numpy(
        items[random.integers(count, size=USERS)]
        + SPREAD * random.normal(size=(USERS, width)).astype(np.float32)
    )
    with tempfile.TemporaryDirectory() as folder:
        ways = rankings(items, Path(folder))
    best = {name: way(users, [Wish(TOP)] * USERS) for name, way in ways.items()}
    pairs = zip(best["exact"], best["index"], strict=True)
    found = sum(len({*exact[0]} & {*index[0]}) for exact, index in pairs) / (TOP * USERS)
    batches = {size: [{"user": each} for each in users.split(size)] for size in (1, BATCH)}

    def runtime(way: Ranking) -> Runtime:
        def run(inputs: Tensors) -> Tensors:
            way(inputs["user"], [Wish(TOP)] * len(inputs["user"]))
            return inputs

        return run

    timings, _ = timing.compare({name: runtime(way) for name, way in ways.items()}, batches)
    exact, index = timings["exact"], timings["index"]
    print(
        f"{count} items of {width}: exact {exact.p50_ms:.2f} ms at batch 1, index "
        f"{index.p50_ms:.2f} ms, {exact.p50_ms / index.p50_ms:.1f} x; at batch {BATCH} "
        f"{index.samples_per_s / exact.samples_per_s:.1f} x; {found:.1%} of the exact top {TOP}"
    )


def main() -> None:
    """Measure each size of catalogue."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--width", type=int, default=64)
    arguments = parser.parse_args()
    for count in arguments.items:
        measure(count, arguments.width)


if __name__ == "__main__":
    main()
