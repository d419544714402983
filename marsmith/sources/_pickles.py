"""Pickles: what one names, without running it; and its plain contents, with nothing of it run.

A pickle is a program. `scan` reads that program's text. `read` lets torch's own restricted reader
run it with an inert object in the place of every class and function that this reader doesn't know:
what stands there is never imported, and never called.
"""

from __future__ import annotations

import _compat_pickle
import io
import mmap
import pickletools
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

COMPUTED = "a computed name"
PICKLED = ".pkl"
MOST_BYTES = 256 << 20
LEGACY_PARTS = 5
"""How many pickles are in a file of torch's before 1.6, ahead of its numbers."""
HARMFUL = frozenset({
    "_posixsubprocess", "asyncio", "bdb", "cffi", "code", "codeop", "commands", "ctypes", "ftplib",
    "http", "imaplib", "importlib", "marshal", "multiprocessing", "nt", "ntpath", "os", "pdb",
    "pip", "pkgutil", "posix", "pty", "pydoc", "requests", "runpy", "setuptools", "shutil",
    "signal", "smtplib", "socket", "socketserver", "ssl", "subprocess", "sys", "telnetlib",
    "tempfile", "timeit", "torch.hub", "torch.utils.cpp_extension", "trace", "urllib",
    "webbrowser",
    "builtins.__import__", "builtins.breakpoint", "builtins.compile", "builtins.eval",
    "builtins.exec", "builtins.globals", "builtins.open", "builtins.vars",
})  # fmt: skip
"""Modules, and functions, that run commands or other code, or reach files and the network."""
LONGEST_HARMFUL = 1 + max(name.count(".") for name in HARMFUL)  # parts; a name may have a million
KEEPS_THE_FIRST = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})
CALLS = frozenset({"REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ"})


@dataclass
class Scan:
    """What a pickle names.

    Attributes:
        names: the classes and functions, such as "torch.nn.modules.linear.Linear", in its order.
        called: those that it calls.
        dicts: those whose objects it fills as it does dicts.
        lists: those whose objects it fills as it does lists.
        damaged: whether it ends before its end; what comes before would run all the same.
    """

    names: list[str] = field(default_factory=list)
    called: set[str] = field(default_factory=set)
    dicts: set[str] = field(default_factory=set)
    lists: set[str] = field(default_factory=set)
    damaged: bool = False

    @property
    def harmful(self) -> list[str]:
        """The names that no model needs, and that code to do harm does."""
        return [name for name in self.names if _is_harmful(name)]


@dataclass(frozen=True)
class _Named:
    """A class or function on a pickle's stack, or what a call of one has returned."""

    name: str


class Inert:
    """What stands for an object of a class that is not imported: its arguments and its state."""

    name = ""
    state: object = None

    def __new__(cls, *arguments: object) -> Inert:
        made = super().__new__(cls)
        made.arguments = arguments
        return made

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __setstate__(self, state: object) -> None:
        self.state = state

    def weights(self) -> Mapping[str, Any] | None:
        """The parts of an `nn.Module` that have weights, by name; None for anything else."""
        state = self.state
        if not isinstance(state, Mapping) or not {"_parameters", "_modules"} <= state.keys():
            return None
        transient = state.get("_non_persistent_buffers_set", ())
        buffers = {k: v for k, v in state.get("_buffers", {}).items() if k not in transient}
        return {**state["_parameters"], **buffers, **state["_modules"]}


class _Dict:
    """What stands for a class whose objects are dicts; torch fills no dicts but its own kinds."""

    def __new__(cls, *arguments: object) -> OrderedDict[object, object]:  # type: ignore[misc]
        return OrderedDict()  # of the kinds, the one that may have attributes, too


class _List:
    """What stands for a class whose objects are lists."""

    def __new__(cls, *arguments: object) -> list[object]:  # type: ignore[misc]
        return []


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle, or a zip of torch's with one in it, or one that can't be read."""
    if _is_zip(path):
        names = zipped(path)
        return not names or any(name.endswith(PICKLED) for name in names)
    with path.open("rb") as file:
        return file.read(1) in (b"\x80", b"(", b"c", b"]", b"}")


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # it has a zip's end, which says what can't be
        return True


def zipped(path: Path) -> list[str]:
    """The names in a zip; none where it is no zip, or can't be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # as below
        return []


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
    """A pickle in a zip: kilobytes can hold gigabytes, and torch's own holds no numbers.

    Raises:
        ValueError: it is too large.
        Exception: whatever zipfile raises.
    """
    with archive.open(entry) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"{entry.filename} has more than {MOST_BYTES} bytes")
    return io.BytesIO(data)


def scan(path: Path) -> Scan:
    """Read what a pickle names and calls, without running it.

    A name that the pickle computes while it runs is listed as `COMPUTED`. What the named functions
    do in their turn is not known: a scan can show harm, but not its absence.
    """
    found = Scan()
    if _is_zip(path):
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.infolist():  # by entries: there may be two of one name
                    if entry.filename.endswith(PICKLED):
                        _follow(_unpacked(archive, entry), found)
        except Exception:  # zipfile may raise anything on hostile bytes
            found.damaged = True
        return found
    if not path.stat().st_size:
        return Scan(damaged=True)
    # A map reads no more than there is, however much an instruction says that there is.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        first = _follow(mapped, found)
        for _ in range(LEGACY_PARTS - 1 if first == torch.serialization.MAGIC_NUMBER else 0):
            _follow(mapped, found)
    return found


def read(path: Path, scanned: Scan) -> object:
    """Read a file of `torch.save`'s with inert objects for what it names and torch doesn't know.

    Raises:
        pickle.UnpicklingError, RuntimeError: it can't be read so.
    """
    stand_ins: list[Any] = [(_stand_in(name, scanned), name) for name in scanned.names]
    with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
        warnings.simplefilter("ignore")  # of pickles that it is about to refuse
        return torch.load(path, map_location="cpu", weights_only=True)


def is_plain(path: Path) -> bool:
    """Whether a file of `torch.save`'s holds plain data with tensors in it, and no whole module.

    What else is in it, such as a training loop's settings, doesn't count.
    """
    scanned = scan(path)
    try:
        held = read(path, scanned)
    except Exception:  # a pickle can do anything to what stands for its objects
        return False
    each = held.values() if isinstance(held, Mapping) else [held]
    return not any(isinstance(e, Inert) and e.weights() is not None for e in each)


def unknown(scanned: Scan) -> list[str]:
    """The names that torch doesn't know as plain data."""
    return [name for name in scanned.names if not _is_data(name)]


def _is_data(name: str) -> bool:
    if name in ("collections.OrderedDict", "builtins.set", "torch.nn.parameter.Parameter"):
        return True
    return name.startswith("torch._utils._rebuild_") or (
        name.startswith("torch.") and name.endswith("Storage")
    )


def _stand_in(name: str, scanned: Scan) -> type:
    if name in scanned.dicts:
        return _Dict
    if name in scanned.lists:
        return _List
    return type(name.rpartition(".")[2], (Inert,), {"name": name})


def _is_harmful(name: str) -> bool:
    # The path of a name may lead on from one module to another: torch.serialization.os.system.
    parts = name.split(".")
    starts = {".".join(parts[:end]) for end in range(1, LONGEST_HARMFUL + 1)}
    inside = set(parts[1:-1]) & {"os", "sys", "subprocess", "builtins", "importlib"}
    return name == COMPUTED or bool(starts & HARMFUL) or bool(inside)


def _follow(file: IO[bytes] | mmap.mmap, found: Scan) -> object:
    """Follow one pickle; return its first number, which tells torch's own files."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    first = None
    try:
        for code, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]  # or a map
            if code.name.startswith("LONG") and first is None and len(stack) == 0:
                first = argument
            _step(code, argument, stack, memo, found)
    except (ValueError, IndexError, KeyError, OverflowError):
        found.damaged = True
    return first


def _step(
    code: pickletools.OpcodeInfo, argument: Any, stack: list[Any], memo: dict[int, Any], found: Scan
) -> None:
    """Do to names and places what one instruction does to objects."""
    if code.name in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
        return
    if code.name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
        return
    taken = _taken(code, stack)
    if code.name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo.get(argument))
    elif code.name == "DUP":
        stack += taken * 2
    elif code.name in KEEPS_THE_FIRST:
        _note_filled(code.name, taken[0], found)
        stack.append(taken[0])
    elif code.name in ("GLOBAL", "INST"):
        stack.append(_note_named(found, *argument.split(" ", 1)))
    elif code.name == "STACK_GLOBAL":
        stack.append(_note_named(found, *taken))
    elif code.name in ("EXT1", "EXT2", "EXT4"):
        stack.append(_note_named(found, None, None))
    elif code.name in CALLS:
        stack.append(taken[0])
    else:
        pushed = argument if isinstance(argument, str) else None
        marks = (each is pickletools.markobject for each in code.stack_after)
        stack += [pickletools.markobject if mark else pushed for mark in marks]
    if code.name in CALLS:
        found.called |= {each.name for each in stack[-1:] if isinstance(each, _Named)}


def _taken(code: pickletools.OpcodeInfo, stack: list[Any]) -> list[Any]:
    """Take from the stack what an instruction takes, without the mark."""
    before = list(code.stack_before)
    taken: list[Any] = []
    if pickletools.markobject in before:
        while stack[-1] is not pickletools.markobject:
            taken.append(stack.pop())
        stack.pop()
        before = before[: before.index(pickletools.markobject)]
    taken.extend(stack.pop() for _ in before)
    return taken[::-1]


def _note_named(found: Scan, module: Any, name: Any) -> _Named:
    full = COMPUTED
    if isinstance(module, str) and isinstance(name, str):
        # Names of Python 2, which torch writes still.
        there = _compat_pickle.NAME_MAPPING.get((module, name))
        module, name = there or (_compat_pickle.IMPORT_MAPPING.get(module, module), name)
        full = f"{module}.{name}"
    if full not in found.names:
        found.names.append(full)
    return _Named(full)


def _note_filled(code: str, target: Any, found: Scan) -> None:
    if not isinstance(target, _Named):
        return
    if code in ("SETITEM", "SETITEMS"):
        found.dicts.add(target.name)
    elif code in ("APPEND", "APPENDS"):
        found.lists.add(target.name)
