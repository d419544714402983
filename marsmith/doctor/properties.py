"""Read a `.properties` file as Java does.

See: https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/util/Properties.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from marsmith.errors import ServerError

MOST_BYTES = 1 << 20
SPACE = " \t\f"
ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


@dataclass(frozen=True)
class Setting:
    """One line of a file, however many lines it is continued over.

    Attributes:
        key: its name.
        value: as Java gets it: spaces at its end are part of it.
        line: where it begins, from 1.
    """

    key: str
    value: str
    line: int


def read(path: Path) -> list[Setting]:
    """Read a file, setting by setting; of two with one key, Java takes the last.

    Raises:
        ServerError: it can't be read, or is too large to be one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ServerError(f"{path} can't be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise ServerError(f"{path} is no configuration: it has more than {MOST_BYTES:,} bytes")
    return list(parse(data))


def values(path: Path) -> dict[str, str]:
    """Read a file as Java has it in the end."""
    return {each.key: each.value for each in read(path)}


def parse(data: bytes) -> Iterator[Setting]:
    """Read the settings of a file's bytes, which are Latin-1 whatever their writer meant."""
    for number, line in _logical(data.decode("latin-1")):
        # The key ends at the first "=", ":" or space that no backslash stands before.
        match = re.match(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", line, re.DOTALL)
        key, value = match.groups() if match else (line, "")
        yield Setting(_plain(key), _plain(value), number)


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """Lines, with those that continue them, and where they begin; no comments, no blank ones."""
    whole, began = "", 0
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        bare = line.lstrip(SPACE)
        if not began and (not bare or bare[0] in "#!"):
            continue
        began = began or number
        if (len(bare) - len(bare.rstrip("\\"))) % 2:
            whole += bare[:-1]
            continue
        yield began, whole + bare
        whole, began = "", 0
    if began:
        yield began, whole


def _plain(text: str) -> str:
    def said(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) > 1 else ESCAPES.get(code, code)

    return ESCAPE.sub(said, text)
