"""HAProxy's runtime socket: what changes while it runs.

See: HAProxy's Management Guide, section 9.3, "Unix Socket commands".
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path

from marsmith.errors import ServerError

TIMEOUT_S = 5.0


class Runtime:
    """The runtime socket of one HAProxy.

    Args:
        path: of the socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, *commands: str) -> str:
        """Send commands, and return what is said to them.

        Raises:
            ServerError: there is no answer.
        """
        said = bytearray()
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(TIMEOUT_S)
                connection.connect(str(self._path))
                connection.sendall(("; ".join(commands) + "\n").encode())
                while part := connection.recv(65_536):
                    said += part
        except OSError as error:
            raise ServerError(f"HAProxy does not answer at {self._path}: {error}") from error
        return said.decode("utf-8", "replace")

    def show_map(self, file: str) -> dict[str, str]:
        """Return a map's entries.

        Raises:
            ServerError: there is no such map, or no answer.
        """
        said = self.ask(f"show map {file}")
        lines = [line.split(" ", 2) for line in said.splitlines() if line]
        if any(len(words) != 3 or not words[0].startswith("0x") for words in lines):
            raise ServerError(f"HAProxy has no map {file}: {said.strip()}")
        return {words[1]: words[2] for words in lines}

    def set_map(self, file: str, wanted: Mapping[str, str]) -> None:
        """Make a map's entries the wanted ones, and change nothing else of it.

        Raises:
            ServerError: HAProxy refuses, or does not answer.
        """
        there = self.show_map(file)
        commands = [f"del map {file} {key}" for key in there.keys() - wanted.keys()]
        commands += [
            f"add map {file} {key} {_word(wanted[key])}" for key in wanted.keys() - there.keys()
        ]
        commands += [
            f"set map {file} {key} {_word(wanted[key])}"
            for key in wanted.keys() & there.keys()
            if there[key] != wanted[key]
        ]
        # Said one by one: HAProxy takes a line of limited length.
        for command in commands:
            if refusal := self.ask(command).strip():
                raise ServerError(f"HAProxy refuses {command!r}: {refusal}")


def _word(value: str) -> str:
    """A value as one word of a command."""
    return re.sub(r"([\\ ;])", r"\\\1", value)


def write_map(file: Path, entries: Mapping[str, str]) -> None:
    """Write a map that HAProxy reads as it starts."""
    file.write_text("".join(f"{key} {value}\n" for key, value in entries.items()), "utf-8")
