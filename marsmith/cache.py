"""What is costly to make, kept by the content of all that it was made from."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

UNUSED_DAYS = 30


class Cache:
    """Folders by key; what nobody used for 30 days is dropped.

    Args:
        folder: made when something is first kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> Path | None:
        """The folder that was kept under a key; None when there is none."""
        kept = self.folder / key
        if not kept.is_dir():
            return None
        os.utime(kept)
        return kept

    @contextmanager
    def keep(self, key: str) -> Iterator[Path]:
        """A new folder to fill; kept under its key when the block ends well."""
        unfinished = self.folder / f".unfinished-{key}-{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            yield unfinished
            kept = self.folder / key
            shutil.rmtree(kept, ignore_errors=True)
            unfinished.rename(kept)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def drop_unused(self) -> None:
        """Remove what was not used for 30 days."""
        oldest = time.time() - UNUSED_DAYS * 86_400
        for kept in self.folder.glob("*"):
            if kept.is_dir() and kept.stat().st_mtime < oldest:
                shutil.rmtree(kept, ignore_errors=True)


def key_of(*parts: Any) -> str:
    """A key for text, bytes, paths (their content), modules (their source) and tensors.

    Containers are gone through; whatever else there is counts by its `repr`.
    """
    digest = hashlib.sha256()
    _feed(digest, parts)
    return digest.hexdigest()[:24]


def module_key(module: torch.nn.Module) -> str:
    """A key for a module: its weights, its structure, and the files that define its classes."""
    files = set()
    for kind in {type(each) for each in module.modules()}:
        with suppress(TypeError, OSError):  # made at run time: in no file
            files.add(Path(inspect.getsourcefile(kind) or ""))
    code = [file for file in sorted(files) if file.is_file()]
    return key_of(str(module), code, module.state_dict())


def _feed(digest: Any, part: Any) -> None:
    digest.update(type(part).__name__.encode())
    if isinstance(part, bytes):
        digest.update(hashlib.sha256(part).digest())
    elif isinstance(part, torch.Tensor):
        plain = part.detach().cpu().contiguous()
        digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(part, Path) and part.is_file():
        digest.update(hashlib.sha256(part.read_bytes()).digest())
    elif isinstance(part, ModuleType):
        _feed(digest, Path(part.__file__) if part.__file__ else part.__name__)
    elif isinstance(part, dict):
        _feed(digest, list(part.items()))
    elif isinstance(part, (list, tuple)):
        digest.update(str(len(part)).encode())
        for each in part:
            _feed(digest, each)
    else:
        digest.update(repr(part).encode())
