"""What is written appears whole, or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file or a folder that takes a path's place when the block ends well.

    Whoever reads the path finds what was there before or all that is there now, and a block that
    fails leaves nothing. One that is killed leaves a hidden folder beside the path.

    Args:
        path: its folder is made when it isn't there.

    Yields:
        Where to write; nothing is there yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        if path.is_dir():  # only a file is replaced in one step
            path.replace(Path(folder) / f"{path.name}.before")
        unfinished.replace(path)
