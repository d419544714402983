"""Write files and folders that appear whole, or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file or a folder that replaces a path when the block ends without an error.

    A reader of the path finds all of the old content or all of the new. A block that fails leaves
    nothing; a process that is killed leaves a hidden folder beside the path.

    Args:
        path: what to replace; its folder is made if it isn't there.

    Yields:
        The path to write to; nothing is there yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        if path.is_dir():  # only a file is replaced in one step
            path.replace(Path(folder) / f"{path.name}.before")
        unfinished.replace(path)
