"""The same archive, served otherwise."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from marsmith.archive import sums
from marsmith.archive.reading import MANIFEST
from marsmith.archive.sums import SUMS
from marsmith.tune.settings import Way

CONFIG = "model-config.yaml"


def variants(archive: Path, ways: Mapping[str, Way], startup_s: int, folder: Path) -> list[Path]:
    """Write an archive for each way to serve one.

    Args:
        archive: a sound one.
        ways: by the name that the model gets.
        startup_s: how long a worker may take to load: those of all these ways do so at once.
        folder: an existing one.
    """
    return [
        variant(archive, name, {**way.config(), "startupTimeout": startup_s}, folder)
        for name, way in ways.items()
    ]


def variant(archive: Path, name: str, changed: Mapping[str, object], folder: Path) -> Path:
    """Write an archive like a given one under another name, with sums that fit it.

    Args:
        archive: a sound one.
        name: the model's; the file's, too.
        changed: what its `model-config.yaml` says instead.
        folder: an existing one.
    """
    made = folder / f"{name}.mar"
    with zipfile.ZipFile(archive) as given:
        files = {entry: given.read(entry) for entry in given.namelist() if entry != SUMS}
    manifest = json.loads(files[MANIFEST])
    manifest["model"]["modelName"] = name
    config = yaml.safe_load(files[CONFIG])
    config.get("front", {}).pop("worker_per_core", None)  # each way says how many there are
    files[MANIFEST] = json.dumps(manifest).encode()
    files[CONFIG] = yaml.safe_dump({**config, **changed}).encode()
    with zipfile.ZipFile(made, "w") as written:
        for entry, data in {**files, SUMS: sums.of(files)}.items():
            written.writestr(entry, data)
    return made
