"""Environments in which only some of marsmith's extras are installed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement


def environment(folder: Path, extras: Iterable[str]) -> Path:
    """Make an environment of links to what is installed here, and return its Python.

    Args:
        folder: a new one.
        extras: those of marsmith that are there; nothing of others is.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    for name in needed(Requirement(f"marsmith[{','.join(extras)}]"), set()):
        found = metadata.distribution(name)
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            # An editable install's .pth leads to a checkout.
            if not top.endswith(".pth") and not (packages / top).exists():
                (packages / top).symlink_to(str(found.locate_file(top)))
    return folder / "bin" / "python"


def needed(requirement: Requirement, seen: set[str]) -> set[str]:
    """The names of packages that one needs, itself among them, with those extras of it."""
    if str(requirement) in seen:
        return set()
    seen.add(str(requirement))
    inner = (needed(each, seen) for each in _requires(requirement))
    return {requirement.name}.union(*inner)


def _requires(requirement: Requirement) -> Iterator[Requirement]:
    for each in map(Requirement, metadata.requires(requirement.name) or ()):
        wanted = ("", *requirement.extras)
        if each.marker is None or any(each.marker.evaluate({"extra": one}) for one in wanted):
            yield each
