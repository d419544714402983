"""Lay out an archive for a worker, as the frontend does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from marsmith.archive.reading import Named, check
from marsmith.errors import ArchiveError


def unpack(archive: Named, into: Path) -> None:
    """Lay out an archive, or a folder with the contents of one, in a new folder.

    Raises:
        ArchiveError: it is not a sound archive; see `marsmith.archive.reading`.
    """
    if archive.path.is_dir():
        try:
            shutil.copytree(archive.path, into)
        except OSError as error:
            raise ArchiveError(f"{archive.path} can't be copied: {error}") from error
        return
    check(archive, into)


def read_manifest(archive: Path, model_dir: Path) -> dict[str, str]:
    """Read the manifest's model; refuse one that would get no Python worker."""
    try:
        manifest = json.loads((model_dir / "MAR-INF" / "MANIFEST.json").read_text("utf-8"))
        model = manifest["model"]
        if manifest.get("runtime", "python") not in ("python", "python3"):
            raise TypeError("its runtime is not Python")
        for key in ("modelName", "modelVersion", "handler"):
            if not isinstance(model[key], str):
                raise TypeError(f"{key} is not a string")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(
            f"{archive.name} has no usable MAR-INF/MANIFEST.json: {error!r}",
            hint="give its model a modelName, a modelVersion and a handler",
        ) from error
    return dict(model)


def read_config(model_dir: Path, model: Mapping[str, str]) -> dict[str, object]:
    """The model's configuration as the frontend reads it; empty when it is broken."""
    try:
        config = yaml.safe_load((model_dir / model["configFile"]).read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


def batch_size(config: Mapping[str, object]) -> int:
    """The largest batch that a configuration allows; 1 without a number that the frontend takes."""
    size = config.get("batchSize")
    return max(1, size) if isinstance(size, int) else 1
