"""Reads what an archive says of itself, without loading anything in it."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import yaml

from marsmith.errors import ArchiveError

MANIFEST = "MAR-INF/MANIFEST.json"
SUMS = "MAR-INF/SHA256SUMS"
FACTS = "MAR-INF/marsmith.json"


def inspect(path: str | Path) -> dict[str, Any]:
    """Read what an archive says of itself, without loading anything in it.

    Returns:
        "archive", "sha256", "bytes", "manifest", "config", "files" (name to size and hash),
        "facts" (None for an archive that was packed by hand), "damaged" (files that are not
        what SHA256SUMS says).

    Raises:
        ArchiveError: there is no such file, or it is not a model archive.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {i.filename: i.file_size for i in archive.infolist() if not i.is_dir()}
            digests = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in entries}
            manifest = json.loads(archive.read(MANIFEST))
            config_file = manifest["model"].get("configFile")
            config = yaml.safe_load(archive.read(config_file)) if config_file else {}
            facts = json.loads(archive.read(FACTS)) if FACTS in entries else None
            sums = archive.read(SUMS).decode() if SUMS in entries else ""
    except FileNotFoundError as error:
        raise ArchiveError(f"there is no archive {path}") from error
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ArchiveError(f"{path} is not a model archive: {error}") from error
    return {
        "archive": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "manifest": manifest,
        "config": config,
        "files": {n: {"bytes": entries[n], "sha256": digests[n]} for n in sorted(entries)},
        "facts": facts,
        "damaged": [name for name, digest in _listed(sums) if digests.get(name) != digest],
    }


def instructions(path: Path) -> tuple[str, ...]:
    """The instructions that an archive was made for; see `handlers.cpu`.

    Raises:
        ArchiveError: there is no such file, or it is not a model archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            facts = json.loads(archive.read(FACTS)) if FACTS in archive.namelist() else {}
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise ArchiveError(f"{path} is not a model archive: {error}") from error
    return tuple(facts.get("instructions", ()))


def _listed(sums: str) -> list[tuple[str, str]]:
    lines = (line.partition("  ") for line in sums.splitlines() if not line.startswith("#"))
    return [(name, digest) for digest, _, name in lines]
