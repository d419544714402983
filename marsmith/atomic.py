"""Write files and folders that appear whole, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def ensure_room(folder: Path, size: int) -> None:
    """Raise what a full disk raises, before a writer is asked that can't bear one.

    PyTorch's writers in C++ end the process when they can't write.

    Args:
        folder: where it will be written.
        size: in bytes.

    Raises:
        OSError: there is less room than that.
    """
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


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
    try:
        unique = tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        error.filename = str(path)  # nobody knows the other
        raise
    with unique as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        if path.is_dir():  # only a file is replaced in one step
            path.replace(Path(folder) / f"{path.name}.before")
        unfinished.replace(path)
