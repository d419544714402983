"""Reads an archive, strictly: what is taken here is what TorchServe's Java would unpack.

Every command that opens an archive opens it here. Nothing in it is run or unpickled.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from marsmith.archive import names, remote, sums, texts, zipped
from marsmith.archive.sums import SUMS
from marsmith.errors import ArchiveError

MANIFEST = "MAR-INF/MANIFEST.json"
FACTS = "MAR-INF/marsmith.json"
ENTRY = "archive_entry.py"  # no common name: a worker looks in the host's PYTHONPATH first
PIN = "@sha256:"


@dataclass(frozen=True)
class Named:
    """An archive as people name it: "PATH", or "PATH@sha256:DIGEST" for these bytes alone.

    One that lies elsewhere is taken from there; see `remote`.

    Attributes:
        path: of the file, or a name in the model store.
        sha256: what its bytes must have, in hexadecimal; empty for any.
    """

    path: Path
    sha256: str = ""

    @classmethod
    def of(cls, said: str | Path | Named) -> Named:
        """Read what somebody has said.

        Raises:
            ArchiveError: the digest is none, or what is elsewhere isn't what it names.
            MarsmithError: what is elsewhere can't be had.
        """
        if isinstance(said, Named):
            return said
        if remote.is_remote(str(said)):
            return cls(*remote.take(str(said)))
        path, pin, digest = str(said).rpartition(PIN)
        if not pin:
            return cls(Path(said))
        if not re.fullmatch("[0-9a-f]{64}", digest) or not path:
            raise ArchiveError(f"{said} has no SHA-256 behind {PIN!r}: 64 digits, 0-9 and a-f")
        return cls(Path(path), digest)

    def __str__(self) -> str:
        return f"{self.path}{PIN}{self.sha256}" if self.sha256 else str(self.path)


@dataclass(frozen=True)
class Said:
    """What an archive says of itself.

    Attributes:
        texts: the files that it says it in, by name.
    """

    texts: Mapping[str, bytes]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest."""
        return _object(texts.read_json(self.texts[MANIFEST], MANIFEST), MANIFEST)

    @cached_property
    def model(self) -> dict[str, Any]:
        """The manifest's model."""
        return _object(self.manifest.get("model"), f"the model of {MANIFEST}")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration; empty if there is none."""
        name = self.model.get("configFile")
        if not name:
            return {}
        found = texts.read_yaml(self.texts[name], name)
        return {} if found is None else _object(found, name)

    @cached_property
    def facts(self) -> dict[str, Any] | None:
        """What was verified; None for an archive that was packed by hand."""
        data = self.texts.get(FACTS)
        return None if data is None else _object(texts.read_json(data, FACTS), FACTS)

    @cached_property
    def sums(self) -> dict[str, str] | None:
        """The SHA-256 of every other file, by name; None for one that was packed by hand."""
        data = self.texts.get(SUMS)
        return None if data is None else sums.read(data)


@dataclass(frozen=True)
class Checked:
    """An archive of which every byte was read.

    Attributes:
        said: what it says of itself.
        sha256: of the bytes that were checked, in hexadecimal.
        bytes: how many they are.
        files: size and SHA-256 of each, by name.
    """

    said: Said
    sha256: str
    bytes: int
    files: Mapping[str, tuple[int, str]]


def inspect(path: str | Path) -> dict[str, Any]:
    """Read what an archive says of itself, and check every byte, without loading anything in it.

    Args:
        path: of the archive; with "@sha256:DIGEST" behind it, of these bytes alone.

    Returns:
        "archive", "sha256", "bytes", "manifest", "config", "files" (name to size and hash),
        "facts" (None for an archive that was packed by hand), "listed" (whether SHA256SUMS lists
        its files).

    Raises:
        ArchiveError: there is no such file, or it is not a sound model archive.
    """
    named = Named.of(path)
    found = check(named)
    return {
        "archive": named.path.name,
        "sha256": found.sha256,
        "bytes": found.bytes,
        "manifest": found.said.manifest,
        "config": found.said.config,
        "files": {n: {"bytes": s, "sha256": d} for n, (s, d) in sorted(found.files.items())},
        "facts": found.said.facts,
        "listed": found.said.sums is not None,
    }


def pinned(archive: Path) -> Named:
    """Name an archive by the bytes that it has now.

    Raises:
        ArchiveError: it is not a sound archive.
    """
    return Named(archive, check(archive).sha256)


def instructions(archive: Path | Named) -> tuple[str, ...]:
    """The instructions of a CPU that an archive was made for; see `handlers.cpu`.

    Raises:
        ArchiveError: it is not a sound archive, as far as can be seen so.
    """
    said = (glance(Named.of(archive).path).facts or {}).get("instructions")
    return tuple(each for each in said if isinstance(each, str)) if isinstance(said, list) else ()


def glance(archive: Path) -> Said:
    """Read what an archive says of itself, without the rest of it: in milliseconds.

    Raises:
        ArchiveError: it is not a sound archive, as far as can be seen so.
    """
    with _opened(archive) as stream:
        return _said(stream, zipped.directory(stream))


def check(archive: Path | Named, into: Path | None = None, held: Path | None = None) -> Checked:
    """Read every byte of an archive, once and in order.

    Args:
        archive: a file; it may change meanwhile, and what is returned is of the bytes read.
        into: a folder to unpack it in, which is made; left half-filled by an error.
        held: a copy of it, that is read in its place.

    Raises:
        ArchiveError: it is not a sound archive, or not the one that its digest names.
    """
    named = Named.of(archive)
    with _opened(named.path, held) as stream:
        found = zipped.directory(stream)
        said = _said(stream, found)
        whole, count, files = hashlib.sha256(), 0, {}

        def tap(data: bytes) -> None:
            nonlocal count
            whole.update(data)
            count += len(data)

        for entry, pieces in zipped.walk(stream, found, tap):
            target = into and _target(into, entry)
            if not entry.is_folder:
                digest = _digest(pieces, target)
                _compare(said, entry.name, digest)
                files[entry.name] = entry.size, digest
        sha256 = whole.hexdigest()
        if named.sha256 not in ("", sha256):
            raise ArchiveError(f"its SHA-256 is {sha256}, not {named.sha256}")
        return Checked(said, sha256, count, files)


@contextmanager
def _opened(path: Path, held: Path | None = None) -> Iterator[BinaryIO]:
    try:
        if (held or path).is_fifo():  # to open it is to wait for who writes to it
            raise ArchiveError(f"{path} can't be read as an archive: it is no file")
        stream = (held or path).open("rb")
    except FileNotFoundError as error:
        raise ArchiveError(f"there is no archive {path}") from error
    except OSError as error:
        raise ArchiveError(f"{path} can't be read as an archive: {error.strerror}") from error
    try:
        with stream:  # what is unpacked of it may meet a full disk
            yield stream
    except ArchiveError as error:
        raise ArchiveError(f"{path} is not a sound model archive: {error.message}") from error


def _said(stream: BinaryIO, found: zipped.Directory) -> Said:
    """Read what the archive says of itself, and refuse what contradicts itself."""
    entries = {entry.name: entry for entry in found.entries if not entry.is_folder}

    def held(name: str) -> bytes:
        return zipped.read(stream, entries[name], texts.MOST_BYTES)

    if MANIFEST not in entries:
        raise ArchiveError(f"it has no {MANIFEST}")
    said = Said({name: held(name) for name in (MANIFEST, FACTS, SUMS) if name in entries})
    for key in ("configFile", "modelFile", "serializedFile", "requirementsFile"):
        name = said.model.get(key)
        if name and (not isinstance(name, str) or name not in entries):
            raise ArchiveError(f"its manifest's {key}, {ascii(name)[:80]}, is not in it")
    _check_handler(said, entries)
    if config := said.model.get("configFile"):
        said = Said({**said.texts, config: held(config)})
    _ = said.config, said.facts  # refused here, not by whoever asks first
    _check_list(said, entries)
    return said


def _check_handler(said: Said, entries: Mapping[str, object]) -> None:
    handler = said.model.get("handler")
    if not isinstance(handler, str) or not handler:
        raise ArchiveError(f"its manifest names no handler: {ascii(handler)[:80]}")
    file = handler.partition(":")[0]
    is_file = file.endswith(".py") or not re.fullmatch(r"[A-Za-z0-9_.-]+", file)
    if is_file and file not in entries:
        raise ArchiveError(f"its handler, {ascii(handler)[:80]}, is not in it")


def _check_list(said: Said, entries: Mapping[str, object]) -> None:
    """Compare the list of an archive of ours with what is there; one packed by hand has none."""
    if said.sums is None:
        if FACTS in entries:
            raise ArchiveError(f"marsmith has built it, and its {SUMS} is gone")
        return
    if said.model["handler"] != ENTRY:
        raise ArchiveError(
            f"its handler is {ascii(said.model['handler'])[:80]}: that of an archive with a {SUMS}"
            f" is {ENTRY}"
        )
    for name in sorted(entries.keys() - said.sums.keys() - {SUMS}):
        raise ArchiveError(f"the entry {names.shown(name)} is not in its {SUMS}")
    for name in sorted(said.sums.keys() - entries.keys()):
        raise ArchiveError(f"the archive is damaged: {names.shown(name)} is missing")
    names.check_hides_nothing(sorted(entries))


def _compare(said: Said, name: str, digest: str) -> None:
    held = said.texts.get(name)
    if held is not None and hashlib.sha256(held).hexdigest() != digest:
        raise ArchiveError(f"the entry {names.shown(name)} changed while it was read")
    if said.sums is not None and said.sums.get(name, digest) != digest:
        raise ArchiveError(
            f"the archive is damaged: {names.shown(name)} has changed since it was built"
        )


def _target(into: Path, entry: zipped.Entry) -> Path:
    target = into / entry.name
    (target if entry.is_folder else target.parent).mkdir(parents=True, exist_ok=True)
    return target


def _digest(pieces: Iterator[bytes], target: Path | None) -> str:
    """The SHA-256 of some data, which goes to a new file if there is to be one."""
    digest = hashlib.sha256()
    if target is None:
        for piece in pieces:
            digest.update(piece)
        return digest.hexdigest()
    with target.open("xb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _object(found: object, what: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ArchiveError(f"{what} is no object with keys: {ascii(found)[:60]}")
    return found
