"""Where the model of a build comes from: its recipe, its source, its data, and their commit."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from marsmith.archive.writing import dump
from marsmith.recipe.live_data import LiveData
from marsmith.recipe.sections import Recipe
from marsmith.report.report import Provenance
from marsmith.verify import arrays

GIT_TIMEOUT_S = 30
CARD = "README.md"


def of(recipe: Recipe) -> Provenance:
    """Say where the model of a recipe comes from; nothing of it names a folder of this machine."""
    file = recipe.file
    settings = recipe.model_dump(mode="json", serialize_as_any=True)
    sections = {name: getattr(recipe, name) for name in ("evaluation", "calibration", "training")}
    card = _card(recipe)
    commit, clean = _checkout(file) if file else (None, None)
    return Provenance(
        recipe=_digest(file) if file else hashlib.sha256(dump(settings)).hexdigest(),
        source={
            "kind": type(recipe.source).__module__.rpartition(".")[2].lstrip("_"),
            **_source(recipe),
        },
        data={name: _data(section.data) for name, section in sections.items() if section},
        datasets=tuple(map(str, _several(card.get("datasets")))),
        licence=", ".join(map(str, _several(card.get("license")))),
        commit=commit,
        clean=clean,
    )


def _source(recipe: Recipe) -> dict[str, object]:
    return {
        key: {"name": value.name, "sha256": _digest(value)} if isinstance(value, Path) else value
        for key, value in dict(recipe.source).items()
    }


def _data(named: str | LiveData) -> str:
    """A "module:function", or the name of a file and its digest, or what is in memory."""
    return f"{Path(named).name} {_digest(Path(named))}" if arrays.named(named) else str(named)


def _digest(path: Path) -> str:
    """Of a file; or of the lines "SHA256  PATH" of the files of a folder that aren't hidden."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        names = {file.relative_to(path): file for file in files}
        shown = {n: f for n, f in names.items() if not any(p.startswith(".") for p in n.parts)}
        lines = "".join(f"{_digest(file)}  {name.as_posix()}\n" for name, file in shown.items())
        return hashlib.sha256(lines.encode()).hexdigest()
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _card(recipe: Recipe) -> Mapping[str, object]:
    """What the model card of a source's folder says, between its first two lines of dashes.

    See: https://huggingface.co/docs/hub/model-cards#model-card-metadata
    """
    for folder in recipe.source.files():
        try:
            before, start, rest = (folder / CARD).read_text("utf-8").partition("---\n")
            found = yaml.safe_load(rest.partition("\n---")[0]) if start and not before else None
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def _several(value: object) -> list[object]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _checkout(recipe: Path) -> tuple[str | None, bool | None]:
    """The commit of the checkout that a recipe lies in, and whether nothing has changed since."""
    commit = _git(recipe.parent, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None, None
    known = _git(recipe.parent, "ls-files", "--error-unmatch", "--", recipe.name)
    # What git doesn't know is left out: a build writes such files, and would differ from the next.
    changed = _git(recipe.parent, "status", "--porcelain", "--untracked-files=no")
    return commit, bool(known) and changed == ""


def _git(folder: Path, *command: str) -> str | None:
    """What git says in a folder; None if it says no, or isn't there."""
    try:
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", *command],  # noqa: S607
            cwd=folder,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
