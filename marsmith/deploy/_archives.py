"""What files for other systems say of the archives that they deploy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from marsmith.archive import sbom
from marsmith.archive.reading import Named
from marsmith.errors import MarsmithError
from marsmith.serving.ray import served

MODELS = "/models"
"""The folder that holds archives, in images and pods."""


@dataclass(frozen=True)
class Deployed:
    """One archive that is deployed.

    Attributes:
        file: here.
        served: what it says of itself; its `archive` is the path in an image or a pod, by digest.
        bill: its bill of materials.
    """

    file: Path
    served: served.Served
    bill: dict[str, Any]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.served.name

    @property
    def sha256(self) -> str:
        """Of the archive, in hexadecimal."""
        return Named.of(self.served.archive).sha256

    @property
    def version(self) -> str:
        """The model's."""
        return self.served.plan.version

    def packages(self) -> dict[str, str]:
        """The packages that serving may need, by name, and their versions."""
        return {each["name"]: each["version"] for each in self.bill["components"]}

    def engines(self) -> set[str]:
        """The packages that files in the archive import, or that its recipe declares."""
        named = {edge["ref"]: edge["dependsOn"] for edge in self.bill["dependencies"]}
        return {ref.removeprefix("pkg:") for ref in named[sbom.MODEL]}


def read(archives: Sequence[str]) -> list[Deployed]:
    """Read archives that marsmith has built, in the order of their models' names.

    Raises:
        ArchiveError: one is not sound, not built by marsmith, or two hold models of one name.
    """
    found = []
    for each in served.read(tuple(archives)):
        file = Named.of(each.archive)
        inside = Named(Path(MODELS, f"{each.name}.mar"), file.sha256)
        bill = sbom.document(str(file))
        found.append(Deployed(file.path, replace(each, archive=str(inside)), bill))
    return found


def refuse_full(out: Path) -> None:
    """Refuse a folder that has something in it, which nobody wants to lose.

    Raises:
        MarsmithError: it has.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MarsmithError(f"{out} is not an empty folder", "name a new one, or empty it")
