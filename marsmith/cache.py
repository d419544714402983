"""Keep what is costly to make, by the content of all that it was made from."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from marsmith import imports
from marsmith.atomic import replacing

if TYPE_CHECKING:
    from hashlib import _Hash

UNUSED_DAYS = 30
OURS = ("marsmith.", "handlers.")
PLAIN = (bool, int, float, str, type(None))
TENSORS = frozenset({"_parameters", "_buffers", "_modules", "training"})


class Cache:
    """Folders by key; those that were not used for 30 days are dropped.

    Args:
        folder: made when something is first kept; nothing else may be in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> Path | None:
        """Return the folder that was kept under a key; None if there is none."""
        kept = self.folder / key
        if not kept.is_dir():
            return None
        os.utime(kept)
        return kept

    @contextmanager
    def keep(self, key: str) -> Iterator[Path]:
        """Yield a new folder to fill; it is kept under the key if the block ends without error."""
        with replacing(self.folder / key) as unfinished:
            unfinished.mkdir()
            yield unfinished
        shutil.rmtree(self.resumable(key), ignore_errors=True)

    def resumable(self, key: str) -> Path:
        """The path where work saves its state, to resume from if it is killed; not made here.

        It stays until something is kept under the key.
        """
        return self.folder / f".resumable-{key}"

    def drop_unused(self) -> None:
        """Remove what was not used for 30 days, including unfinished work."""
        oldest = time.time() - UNUSED_DAYS * 86_400
        for kept in self.folder.glob("*"):
            with suppress(FileNotFoundError):  # another build may have finished it meanwhile
                if kept.stat().st_mtime < oldest:
                    shutil.rmtree(kept, ignore_errors=True)


def key_of(*parts: object) -> str:
    """Make a key of text, bytes, paths (the content of files and folders) and tensors.

    The items of dicts, lists and tuples count each; any other object counts by its `repr`. Hidden
    files of a folder don't count.

    Raises:
        FileNotFoundError: a path doesn't exist.
    """
    digest = hashlib.sha256()
    _feed(digest, parts)
    return digest.hexdigest()[:24]


def code_of(*modules: ModuleType | str, without: Sequence[ModuleType] = ()) -> list[Path]:
    """The files that modules are made of, for the key of what they make.

    They are each module's own file, the files of `handlers`, of `marsmith` and beside it that it
    imports anywhere, and the files that these import. An import by name at run time (of a runtime,
    a converter, a pass, a metric) can't be seen in the source: name that module, too.

    Args:
        modules: modules, or their names.
        without: modules and packages that make no difference to what is made.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    names = [each if isinstance(each, str) else each.__name__ for each in modules]
    return imports.closure(names, ours=True, without=[each.__name__ for each in without])


def module_key(module: torch.nn.Module) -> str:
    """Make a key of a module's weights, its structure, all else in it, and its classes' code."""
    defined_in = {type(each).__module__ for each in module.modules()}
    code = code_of(*sorted(name for name in defined_in if name in sys.modules))
    tensors = {**module.state_dict(), **dict(module.named_buffers())}
    beside = [_beside(each) for each in module.modules()]
    return key_of(str(module), code, tensors, beside, imports.unseen(defined_in))


def _beside(module: torch.nn.Module) -> bytes | str:
    """What a module has beside tensors and modules; a word of its own where that can't be told."""
    said = (torch.fx.GraphModule, torch.jit.ScriptModule)
    if type(module).__module__.startswith(OURS) or isinstance(module, said):
        return b""  # its text, or its source, says it all
    own = {name: value for name, value in vars(module).items() if name not in TENSORS}
    if imports.is_installed(type(module).__module__):
        # Their configurations have sets, whose order is another in each process.
        own = {n: v for n, v in own.items() if isinstance(v, PLAIN) or n.endswith("_hooks")}
    try:
        found = pickle.dumps(own)
    except Exception:  # whatever an object raises that isn't made for it
        return uuid.uuid4().hex
    return uuid.uuid4().hex if b"__main__" in found else found  # a function of a notebook, perhaps


def _feed(digest: _Hash, part: object) -> None:
    digest.update(type(part).__name__.encode())
    if isinstance(part, bytes):
        digest.update(hashlib.sha256(part).digest())
    elif isinstance(part, torch.Tensor):
        plain = part.detach().cpu().contiguous()
        digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(part, Path) and part.is_dir():
        _feed(digest, [(str(file.relative_to(part)), file) for file in _shown(part)])
    elif isinstance(part, Path):
        content = hashlib.sha256()
        with part.open("rb") as file:
            while chunk := file.read(1 << 20):
                content.update(chunk)
        digest.update(content.digest())
    elif isinstance(part, dict):
        _feed(digest, list(part.items()))
    elif isinstance(part, (list, tuple)):
        digest.update(str(len(part)).encode())
        for each in part:
            _feed(digest, each)
    else:
        digest.update(repr(part).encode())


def _shown(folder: Path) -> Iterator[Path]:
    """The files of a folder that aren't hidden: `.git` says nothing about a model."""
    for file in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if file.is_file() and not hidden:
            yield file
