"""Reads a ZIP file whose entries are the same for every reader, and refuses any other.

Python reads the list at a file's end, the central directory. TorchServe's Java reads the headers
before each entry's data, from the file's beginning, and stops at the first that is none. Here both
must agree, field by field, and nothing may lie between the entries, before or behind them.

See: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT;
    `java.util.zip.ZipInputStream` of JDK 17.
"""

from __future__ import annotations

import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from marsmith.archive import names
from marsmith.errors import ArchiveError

MOST_ENTRIES = 20_000
MOST_BYTES = 256 << 30
"""Of all entries together, unpacked."""
MOST_RATIO = 100
"""How many times its size a file may unpack to, beyond `FREE_BYTES`; weights hardly shrink."""
FREE_BYTES = 16 << 20
DIRECTORY_BYTES = 16 << 20
CHUNK = 1 << 20

STORED, DEFLATED = 0, 8
NEEDLESS_FLAGS = 0x0002 | 0x0004  # how hard the compressor tried
UTF8 = 0x0800
# Known and harmless: ZIP64, times, owners, NTFS times, what `jar` marks its files with. Others may
# rename an entry (0x7075), or hold a link.
ZIP64 = 0x0001
EXTRAS = frozenset({ZIP64, 0x000A, 0x5455, 0x7875, 0xCAFE})
NEWEST = 63
"""Ten times the version of ZIP that Python's own reader knows."""
IN_EXTRA, MANY = 0xFFFFFFFF, 0xFFFF

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")

HIDDEN = "something is hidden between its last entry and its central directory"

Tap = Callable[[bytes], object]


@dataclass(frozen=True)
class Entry:
    """One entry, as the central directory lists it.

    Attributes:
        name: with "/" between its parts, and at the end of a folder's.
        flags: general purpose flags.
        method: `STORED` or `DEFLATED`.
        crc: CRC-32 of its data.
        packed: bytes in the archive.
        size: bytes of its data.
        offset: where its local header begins.
    """

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int

    @property
    def is_folder(self) -> bool:
        """Whether it stands for a folder, and has no data."""
        return self.name.endswith("/")


@dataclass(frozen=True)
class Directory:
    """What a ZIP file lists.

    Attributes:
        entries: in the order in which they lie in the file.
        tail: the bytes behind the last of them: the central directory and its end.
    """

    entries: tuple[Entry, ...]
    tail: bytes


def directory(stream: BinaryIO) -> Directory:
    """Read the central directory, and hold it to bounds before anything is unpacked.

    Raises:
        ArchiveError: the file is not such a ZIP file; the message leaves out its name.
    """
    size = stream.seek(0, 2)
    begin, count, end = _end(stream, size)
    stream.seek(begin)
    tail = _exactly(stream, size - begin)
    entries, at = [], 0
    for _ in range(count):
        entry, at = _listed(tail, at, end - begin)
        entries.append(entry)
    if at != end - begin:
        raise ArchiveError("its central directory has more in it than it counts")
    _refuse_too_much(entries, size)
    if not entries:
        raise ArchiveError("it is empty")
    names.check_together(entry.name for entry in entries)
    place = 0
    for entry in entries:
        place = _compare_local(stream, entry, place, _nothing)
    if place != begin:
        raise ArchiveError(HIDDEN)
    return Directory(tuple(entries), tail)


def read(stream: BinaryIO, entry: Entry, most: int) -> bytes:
    """Read one entry whole.

    Args:
        stream: the file.
        entry: of its directory.
        most: bytes that it may have.

    Raises:
        ArchiveError: it has more, or isn't as it is listed.
    """
    if entry.size > most:
        raise ArchiveError(f"{names.shown(entry.name)} has {entry.size:,} bytes; at most {most:,}")
    _compare_local(stream, entry, entry.offset, _nothing)
    return b"".join(_unpacked(stream, entry, _nothing))


def walk(stream: BinaryIO, found: Directory, tap: Tap) -> Iterator[tuple[Entry, Iterator[bytes]]]:
    """Read a whole file in one go, as a streaming reader does, and unpack it piece by piece.

    Args:
        stream: the file.
        found: its directory.
        tap: gets every byte of the file once, in order, as it is read: what it makes of them is
            true of the bytes that were checked, whatever becomes of the file meanwhile.

    Yields:
        Each entry and its data, in pieces of at most 1 MiB.

    Raises:
        ArchiveError: an entry isn't as it is listed, or doesn't lie where it should.
    """
    at = 0
    for entry in found.entries:
        at = _compare_local(stream, entry, at, tap)
        pieces = _unpacked(stream, entry, tap)
        yield entry, pieces
        for _ in pieces:  # whatever was not asked for
            pass
    rest = stream.read(len(found.tail) + 1)
    tap(rest)
    if rest != found.tail:
        raise ArchiveError(HIDDEN)


def _end(stream: BinaryIO, size: int) -> tuple[int, int, int]:
    """Where the central directory begins, how many entries it has, and where it ends."""
    end = size - END.size
    if end < 0:
        raise ArchiveError("it is too short for a ZIP file")
    stream.seek(end)
    sign, *disks, here, count, length, begin, comment = END.unpack(_exactly(stream, END.size))
    if sign != b"PK\5\6" or comment:
        raise ArchiveError("it is no ZIP file, or something lies behind its end")
    if end >= LOCATOR.size:
        stream.seek(end - LOCATOR.size)
        sign, disk, at, disk_count = LOCATOR.unpack(_exactly(stream, LOCATOR.size))
        if sign == b"PK\6\7":
            if disk or disk_count != 1 or at != end - LOCATOR.size - END64.size or at < 0:
                raise ArchiveError("its ZIP64 records contradict each other")
            end = at
            stream.seek(at)
            sign, rest, _, _, *disks, here, count64, length64, begin64 = END64.unpack(
                _exactly(stream, END64.size)
            )
            told = (count, count64, MANY), (length, length64, IN_EXTRA), (begin, begin64, IN_EXTRA)
            if (
                sign != b"PK\6\6"
                or rest != END64.size - 12
                or any(old not in (new, instead) for old, new, instead in told)
            ):
                raise ArchiveError("its ZIP64 records contradict each other")
            count, length, begin = count64, length64, begin64
    if any(disks) or here != count:
        raise ArchiveError("it is one part of several")
    if begin + length != end:
        raise ArchiveError("something lies between its central directory and its end")
    if count > MOST_ENTRIES or length > DIRECTORY_BYTES:
        raise ArchiveError(f"it lists {count:,} entries; at most {MOST_ENTRIES:,} are allowed")
    return begin, count, end


def _listed(tail: bytes, at: int, end: int) -> tuple[Entry, int]:
    """Read an entry of the central directory; returns where the next one begins."""
    if at + CENTRAL.size > end:
        raise ArchiveError("its central directory counts more than it has")
    fields = CENTRAL.unpack_from(tail, at)
    sign, _, needed, flags, method, _, _, crc, packed, size = fields[:10]
    name_length, extra_length, comment, disk, _, attributes, offset = fields[10:]
    begin = at + CENTRAL.size
    after = begin + name_length + extra_length + comment
    if sign != b"PK\1\2" or after > end:
        raise ArchiveError("its central directory can't be read")
    name = _name(tail[begin : begin + name_length], flags)
    shown = names.shown(name)
    if flags & 0x2041:
        raise ArchiveError(f"the entry {shown} is encrypted")
    if flags & ~(NEEDLESS_FLAGS | UTF8):
        raise ArchiveError(
            f"the entry {shown} was written as a stream, or in a way that is unknown here (flags"
            f" {flags:#06x})"
        )
    if method not in (STORED, DEFLATED):
        raise ArchiveError(f"the entry {shown} is compressed by method {method}; 0 and 8 are known")
    if (version := needed & 0xFF) > NEWEST:
        raise ArchiveError(f"the entry {shown} needs version {version / 10} of ZIP; at most 6.3")
    if disk or comment:
        raise ArchiveError(f"the entry {shown} has a comment, or lies in another file")
    wide = _extra(tail[begin + name_length : after], shown)
    values = []
    for value in (size, packed, offset):
        if value == IN_EXTRA:
            if len(wide) < 8:
                raise ArchiveError(f"the entry {shown} has no size")
            value, wide = struct.unpack_from("<Q", wide)[0], wide[8:]
        values.append(value)
    if wide:
        raise ArchiveError(f"the entry {shown} has two sizes")
    names.check(name)
    kind = stat.S_IFMT(attributes >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > name.endswith("/"):
        raise ArchiveError(f"the entry {shown} is a link, or no file: its mode is {kind:#o}")
    size, packed, offset = values
    if name.endswith("/") and (size or packed):
        raise ArchiveError(f"the entry {shown} is a folder, and has data")
    if method == STORED and size != packed:
        raise ArchiveError(f"the entry {shown} is stored, and has two sizes")
    return Entry(name, flags, method, crc, packed, size, offset), after


def _compare_local(stream: BinaryIO, entry: Entry, at: int, tap: Tap) -> int:
    """Read a local header, which must say what the directory does; returns where the next one is.

    Args:
        stream: the file.
        entry: of its directory.
        at: where the one before it ends.
        tap: see `walk`.
    """
    shown = names.shown(entry.name)
    if entry.offset != at:
        raise ArchiveError(
            f"the entry {shown} lies at {entry.offset}, not at {at}: something is hidden before it,"
            " or entries overlap"
        )
    stream.seek(at)
    header = _exactly(stream, LOCAL.size)
    sign, _, flags, method, _, _, crc, packed, size, name_length, extra_length = LOCAL.unpack(
        header
    )
    if sign != b"PK\3\4":
        raise ArchiveError(f"the entry {shown} doesn't lie where the central directory says")
    variable = _exactly(stream, name_length + extra_length)
    tap(header + variable)
    if wide := _extra(variable[name_length:], shown):
        if len(wide) != 16 or {size, packed} != {IN_EXTRA}:
            raise ArchiveError(f"the entry {shown} has two sizes")
        size, packed = struct.unpack("<2Q", wide)
    said = variable[:name_length], flags, method, crc, packed, size
    listed = entry.name.encode(), entry.flags, entry.method, entry.crc, entry.packed, entry.size
    if said != listed:
        what = ("name", "flags", "method", "CRC", "packed size", "size")
        other = ", ".join(w for w, a, b in zip(what, said, listed, strict=True) if a != b)
        raise ArchiveError(
            f"the entry {shown} has another {other} in its own header than in the central directory"
        )
    return at + len(header) + len(variable) + entry.packed


def _unpacked(stream: BinaryIO, entry: Entry, tap: Tap) -> Iterator[bytes]:
    """The data of the entry whose header was just read."""
    shown = names.shown(entry.name)
    crc = got = 0
    for piece in _inflated(stream, entry, tap) if entry.method else _raw(stream, entry, tap):
        got += len(piece)
        if got > entry.size:
            break
        crc = zlib.crc32(piece, crc)
        yield piece
    if got != entry.size:
        raise ArchiveError(f"the entry {shown} has another size than it says")
    if crc != entry.crc:
        raise ArchiveError(f"the entry {shown} is damaged: its CRC-32 is another")


def _raw(stream: BinaryIO, entry: Entry, tap: Tap) -> Iterator[bytes]:
    left = entry.packed
    while left:
        piece = _exactly(stream, min(left, CHUNK))
        left -= len(piece)
        tap(piece)
        yield piece


def _inflated(stream: BinaryIO, entry: Entry, tap: Tap) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for raw in _raw(stream, entry, tap):
            while raw and not inflater.eof:
                yield inflater.decompress(raw, CHUNK)
                raw = inflater.unconsumed_tail
            if inflater.unused_data or (raw and inflater.eof):
                break
        while not inflater.eof and (rest := inflater.decompress(b"", CHUNK)):
            yield rest
    except zlib.error as error:
        shown = names.shown(entry.name)
        raise ArchiveError(f"the entry {shown} is damaged: {error}") from error
    if not inflater.eof or inflater.unused_data:
        shown = names.shown(entry.name)
        raise ArchiveError(f"the entry {shown} doesn't end where its compressed data does")


def _name(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & UTF8 else "ascii")
    except UnicodeDecodeError as error:
        raise ArchiveError(
            f"an entry's name, {ascii(raw)[1:][:80]}, is neither ASCII nor marked as UTF-8"
        ) from error


def _extra(extra: bytes, shown: str) -> bytes:
    """The ZIP64 field of an entry's extra fields; empty without one."""
    wide = b""
    while extra:
        kind, length = struct.unpack_from("<2H", extra) if len(extra) >= 4 else (0, MANY)
        if len(extra) < 4 + length:
            raise ArchiveError(f"the extra fields of the entry {shown} can't be read")
        if kind not in EXTRAS or (kind == ZIP64 and (wide or not length)):
            raise ArchiveError(f"the entry {shown} has an extra field {kind:#06x}, unknown here")
        if kind == ZIP64:
            wide = extra[4 : 4 + length]
        extra = extra[4 + length :]
    return wide


def _refuse_too_much(entries: list[Entry], size: int) -> None:
    whole = sum(entry.size for entry in entries)
    if whole > MOST_BYTES:
        raise ArchiveError(f"it unpacks to {whole:,} bytes; at most {MOST_BYTES:,} are allowed")
    if whole > FREE_BYTES + MOST_RATIO * size:
        largest = max(entries, key=lambda entry: entry.size)
        raise ArchiveError(
            f"its {size:,} bytes unpack to {whole:,}, of which {names.shown(largest.name)} has"
            f" {largest.size:,}; at most {MOST_RATIO} times its size is allowed"
        )


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise ArchiveError("it ends too early")
    return data


def _nothing(_: bytes) -> None:
    return
