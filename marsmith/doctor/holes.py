"""The known holes of the installed TorchServe, and what becomes of each behind marsmith's front.

`holes.yaml` is the list; the versions are read off what is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from packaging.specifiers import SpecifierSet
from pydantic import BaseModel, ConfigDict, TypeAdapter

from marsmith.doctor.findings import Finding, Level

LIST = Path(__file__).with_name("holes.yaml")
PART = "torchserve"
CLOSED = {
    "front": "closed by the front",
    "configuration": "closed by the configuration",
    "unused": "not reached",
}


class Hole(BaseModel):
    """One hole, as `holes.yaml` describes it there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ids: tuple[str, ...] = ()
    package: str
    affected: str
    what: str
    by: Literal["front", "configuration", "unused"] | None = None
    how: str = ""
    remains: str = ""
    todo: str = ""
    sources: tuple[str, ...]


@cache
def known() -> tuple[Hole, ...]:
    """All holes of the list."""
    return TypeAdapter(tuple[Hole, ...]).validate_python(yaml.safe_load(LIST.read_text("utf-8")))


def affects(hole: Hole, versions: Mapping[str, str]) -> bool | None:
    """Whether an installed version has a hole; None if the version isn't known.

    Args:
        hole: it.
        versions: of TorchServe and the libraries in its jar, by name.
    """
    version = versions.get(hole.package)
    if version is None:
        return None
    return SpecifierSet(hole.affected).contains(version, prereleases=True)


def check(versions: Mapping[str, str]) -> Iterator[Finding]:
    """Say of every hole whether it is there, and what closes it.

    Args:
        versions: of TorchServe and the libraries in its jar, by name.
    """
    for hole in known():
        where = f"{hole.package} {versions.get(hole.package, 'of an unknown version')}"
        name = hole.ids[0] if hole.ids else hole.what
        level: Level = "good"
        if affects(hole, versions) is False:
            how = "not affected"
        else:
            how = f"{CLOSED[hole.by]}: {hole.how}" if hole.by else "not closed"
            level = "note" if hole.remains or not hole.by else "good"
        remains = f"; what remains: {hole.remains}" if level == "note" else ""
        yield Finding(
            part=PART, level=level, what=f"{hole.what}; {where}: {how}{remains}",
            hint=hole.todo if remains else "", brief=f"{name}, {where}: {how}", ids=hole.ids,
            sources=hole.sources,
        )  # fmt: skip


def open_without_front(versions: Mapping[str, str]) -> list[Hole]:
    """The holes that nothing closes where TorchServe serves without the front."""
    return [hole for hole in known() if hole.by == "front" and affects(hole, versions) is not False]
