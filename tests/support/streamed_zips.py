"""Reads a ZIP file as Java's ZipInputStream does: by local headers, without its directory.

See: `readLOC` and `readEnd` of java.util.zip.ZipInputStream in OpenJDK 17.
"""

from __future__ import annotations

import struct
import zlib

LOCAL = struct.Struct("<4s5H3L2H")
SIGN, STREAMED = b"PK\3\4", 8
WIDE = 0xFFFFFFFF


def entries(data: bytes) -> list[tuple[str, bytes]]:
    """Names and contents of the entries, in order, up to what is no local header.

    Raises:
        ValueError: it breaks off, or an entry can't be unpacked.
    """
    found, at = [], 0
    while data[at : at + 4] == SIGN:
        header = LOCAL.unpack_from(data, at)
        flags, method, packed, size = header[2], header[3], header[7], header[8]
        name_length, extra_length = header[9:]
        at += LOCAL.size
        name = data[at : at + name_length].decode("utf-8")
        extra = data[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length
        if WIDE in (size, packed):
            size, packed = _wide(extra, size, packed)
        if method == 8:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            content = inflater.decompress(data[at:])
            if not inflater.eof:
                raise ValueError("it breaks off")
            at = len(data) - len(inflater.unused_data)
        else:
            content, at = data[at : at + packed], at + packed
        if flags & STREAMED:
            raise ValueError("it was written as a stream")
        found.append((name, content))
    return found


def _wide(extra: bytes, size: int, packed: int) -> tuple[int, int]:
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1 and length >= 16:
            return struct.unpack_from("<2Q", extra, 4)
        extra = extra[4 + length :]
    return size, packed
