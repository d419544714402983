"""Writes ZIP files byte by byte, right or wrong, as no library would."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

LOCAL, CENTRAL, END = "<4s5H3L2H", "<4s6H3L5H2L", "<4s4H2LH"


@dataclass(frozen=True)
class Piece:
    """One entry.

    Attributes:
        name: as bytes of the file; str is UTF-8, and marked so if it isn't ASCII.
        data: what it holds.
        method: 0 or 8, or one whose number alone is written.
        flags: beside the mark of UTF-8.
        mode: of Unix.
        before: bytes before its local header.
        packed: what its data is written as, if not by `method`.
        local: fields of the local header that are other than they should be.
        central: of the central directory.
        listed: whether the central directory has it.
        there: whether there is more of it than its line in the central directory.
    """

    name: str | bytes
    data: bytes = b""
    method: int = 0
    flags: int = 0
    mode: int = 0o100644
    before: bytes = b""
    packed: bytes | None = None
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)
    listed: bool = True
    there: bool = True


def fields(piece: Piece, packed: bytes) -> dict[str, Any]:
    name = piece.name if isinstance(piece.name, bytes) else piece.name.encode()
    marked = isinstance(piece.name, str) and not piece.name.isascii()
    return {
        "sign": b"", "flags": piece.flags | (0x0800 if marked else 0), "method": piece.method,
        "crc": zlib.crc32(piece.data), "packed": len(packed), "size": len(piece.data),
        "name": name, "extra": b"", "comment": b"", "disk": 0, "mode": piece.mode << 16,
        "needed": 20,
    }  # fmt: skip


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def written(
    pieces: Sequence[Piece],
    *,
    gap: bytes = b"",
    after_directory: bytes = b"",
    behind: bytes = b"",
    **end: Any,
) -> bytes:
    """A ZIP file.

    Args:
        pieces: its entries.
        gap: bytes between the last of them and the central directory.
        after_directory: bytes between that and its end.
        behind: bytes behind it all.
        end: fields of the end that are other than they should be.
    """
    body, directory, count = bytearray(), bytearray(), 0
    for piece in pieces:
        packed = piece.packed
        if packed is None:
            packed = deflated(piece.data) if piece.method == 8 else piece.data
        usual = fields(piece, packed)
        offset = len(body) + len(piece.before)
        if piece.there:
            said = {**usual, "sign": b"PK\3\4", **piece.local}
            header = struct.pack(
                LOCAL, said["sign"], 20, said["flags"], said["method"], 0, 33, said["crc"],
                said["packed"], said["size"], len(said["name"]), len(said["extra"]),
            )  # fmt: skip
            body += piece.before + header + said["name"] + said["extra"] + packed
        if piece.listed:
            said = {**usual, "sign": b"PK\1\2", "offset": offset, **piece.central}
            count += 1
            directory += struct.pack(
                CENTRAL, said["sign"], 0x0314, said["needed"], said["flags"], said["method"], 0, 33,
                said["crc"], said["packed"], said["size"], len(said["name"]), len(said["extra"]),
                len(said["comment"]), said["disk"], 0, said["mode"], said["offset"],
            ) + said["name"] + said["extra"] + said["comment"]  # fmt: skip
    body += gap
    said = {
        "disk": 0, "here": count, "count": count, "length": len(directory), "begin": len(body),
        "comment": b"", **end,
    }  # fmt: skip
    tail = struct.pack(
        END, b"PK\5\6", said["disk"], 0, said["here"], said["count"], said["length"],
        said["begin"], len(said["comment"]),
    )  # fmt: skip
    comment: bytes = said["comment"]
    return bytes(body + directory + after_directory + tail + comment + behind)


def end64(begin: int, entries: int, /, **other: Any) -> bytes:
    """The records that make a ZIP file a ZIP64 one; they go between directory and end.

    Args:
        begin: where the central directory begins.
        entries: how many it has, of 46 bytes and a name of one letter each.
        other: fields that are other than they should be.
    """
    length = entries * 47
    said = {
        "count": entries, "length": length, "begin": begin, "at": begin + length, "rest": 44,
        "here": entries, **other,
    }  # fmt: skip
    record = struct.pack(
        "<4sQ2H2L4Q", b"PK\6\6", said["rest"], 45, 45, 0, 0, said["here"], said["count"],
        said["length"], said["begin"],
    )  # fmt: skip
    return record + struct.pack("<4sLQL", b"PK\6\7", 0, said["at"], 1)


def changed(pieces: Sequence[Piece], name: str, **changes: Any) -> list[Piece]:
    """The same entries, one of them changed."""
    return [replace(piece, **changes) if piece.name == name else piece for piece in pieces]
