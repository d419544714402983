"""Archives like a given one, but for something."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from marsmith.archive import sums
from marsmith.archive.sums import SUMS

CONFIG = "model-config.yaml"


def contents(archive: Path) -> dict[str, bytes]:
    """The files of an archive."""
    with zipfile.ZipFile(archive) as mar:
        return {name: mar.read(name) for name in mar.namelist()}


def repack(files: dict[str, bytes], path: Path) -> Path:
    """Write files as an archive."""
    with zipfile.ZipFile(path, "w") as mar:
        for name, data in files.items():
            mar.writestr(name, data)
    return path


def configured(archive: Path, path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """The same archive with a change to its configuration, and sums that fit it."""
    files = contents(archive)
    config = yaml.safe_load(files[CONFIG])
    change(config)
    files[CONFIG] = yaml.safe_dump(config).encode()
    return summed(files, path)


def summed(files: dict[str, bytes], path: Path) -> Path:
    """Write files as an archive, with sums that fit them, as anybody can."""
    rest = {name: data for name, data in files.items() if name != SUMS}
    return repack({**rest, SUMS: sums.of(rest)}, path)


def damaged(data: bytes) -> bytes:
    """The same bytes with one bit in their middle flipped; of nothing, one byte."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else b"\x00"
