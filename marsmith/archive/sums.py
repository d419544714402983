"""SHA256SUMS, the list of an archive's files: written, and read as strictly as it is written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from marsmith.archive.names import shown
from marsmith.errors import ArchiveError

SUMS = "MAR-INF/SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write(digests: Mapping[str, str]) -> bytes:
    """Write what `sha256sum -c` reads, and a last line with its own hash, a comment to it.

    Args:
        digests: SHA-256 in hexadecimal, by the names of files.
    """
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()
    return lines + f"# {hashlib.sha256(lines).hexdigest()}\n".encode()


def of(files: Mapping[str, bytes]) -> bytes:
    """The list of some files; see `write`."""
    return write({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})


def read(data: bytes) -> dict[str, str]:
    """Read a list; see `write`.

    Raises:
        ArchiveError: it is no such list, or has changed since it was written.
    """
    lines, _, own = data.rpartition(b"# ")
    if own != hashlib.sha256(lines).hexdigest().encode() + b"\n":
        raise ArchiveError(f"the archive is damaged: {SUMS} has changed since it was built")
    found: dict[str, str] = {}
    try:
        text = lines.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArchiveError(f"{SUMS} is not UTF-8") from error
    for line in text.removesuffix("\n").split("\n"):
        match = LINE.fullmatch(line)
        if match is None or match[2] in found:
            raise ArchiveError(f"{SUMS} has a line that is none, or twice: {shown(line)}")
        found[match[2]] = match[1]
    return found
