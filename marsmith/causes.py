"""What the system, or a user's own code, has raised: said in a sentence, with its place."""

from __future__ import annotations

import errno
import linecache
import os
import site
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

import typer

import handlers
from marsmith.errors import MarsmithError, reason

INSTALLERS = {"site-packages", "dist-packages"}
LONGEST_LINE = 120  # characters
OURS = (Path(__file__).parent, Path(handlers.__file__).parent)
INSTALLED = tuple(
    Path(folder)
    for folder in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        str(Path(str(typer.__file__)).parents[1]),  # after `pip install --target`
        site.getusersitepackages(),
    }
)
OF_THE_SYSTEM = {
    errno.ENOSPC: (
        "the disk is full",
        "free some space (`df -h` shows where); nothing half-written is left",
    ),
    errno.EDQUOT: ("the disk's quota is used up", "free some space, or ask for more"),
    errno.EROFS: ("it is on a file system that is read-only", "name a folder that can be written"),
    errno.EACCES: ("permission is denied", "give yourself the permission, or name another path"),
    errno.EPERM: ("permission is denied", "give yourself the permission, or name another path"),
    errno.ENAMETOOLONG: ("its name is too long", "name it with less than 200 bytes"),
    errno.ENOENT: (
        "there is no such file or folder",
        "paths begin at the folder of the command",
    ),
    errno.ENOTDIR: ("what should be a folder is a file", "name another path"),
    errno.EISDIR: ("what should be a file is a folder", "name another path"),
    errno.EMFILE: ("too many files are open", "raise the limit: ulimit -n"),
}
# Engines write in C++, and say so in words alone.
FULL = (
    "no space left", "failed writing file", "os error 28", "enforce fail at inline_container",
    "iostream error",
)  # fmt: skip


def explained(error: BaseException) -> MarsmithError | None:
    """Say what went wrong where it is not marsmith's fault; None where it is.

    Args:
        error: with its traceback, of any kind.
    """
    place = own_place(error)
    if isinstance(error, OSError) and error.errno:  # no fault of ours, whatever it is
        usual = os.strerror(error.errno).lower(), "`df -h`, `ls -ld` and `dmesg` may say more"
        said, hint = OF_THE_SYSTEM.get(error.errno, usual)
        name = f"{_short(str(error.filename))}: " if error.filename else ""
        return MarsmithError(f"{name}{said}{place}", hint)
    if disk_is_full(error):
        said, hint = OF_THE_SYSTEM[errno.ENOSPC]
        return MarsmithError(f"{said}{place}", hint)
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return MarsmithError("there is no home directory", "set HOME, or MARSMITH_STATE")
    if not place:
        return None
    said = reason(error)
    name = type(error).__name__
    return MarsmithError(
        f"your code raised {name}{'' if said == name else f': {said}'}{place}",
        "mend it there; marsmith only called it",
    )


def disk_is_full(error: BaseException) -> bool:
    """Whether an error comes of a full disk, whoever raised it."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(word in str(error).lower() for word in FULL)


def own_place(error: BaseException) -> str:
    """Where in the user's own code an error came up: file, line and source; "" for elsewhere."""
    if isinstance(error, SyntaxError) and error.filename and _own(error.filename):
        return _said(error.filename, error.lineno or 1)
    places = [each for each in _frames(error) if _own(each.filename)]
    return _said(places[-1].filename, places[-1].lineno or 1) if places else ""


def _frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    yield from traceback.extract_tb(error.__traceback__)


def _own(file: str) -> bool:
    path = Path(file)
    if INSTALLERS & set(path.parts):  # of another Python's, on PYTHONPATH
        return False
    return (
        not file.startswith("<")
        and path.is_file()
        and not any(path.is_relative_to(folder) for folder in (*OURS, *INSTALLED))
    )


def _said(file: str, line: int) -> str:
    path = Path(file)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    source = linecache.getline(file, line).strip()
    return f"\n  {shown}, line {line}: {_short(source)}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 3]}..."
