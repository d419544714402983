"""What a check has found: how it stands, and what to do about it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Level = Literal["good", "note", "bad"]
"""Nothing to do; worth knowing; it matters: the command ends with status 1."""


class Finding(BaseModel):
    """One thing that was looked at.

    Attributes:
        part: of what: "machine", "state", "torchserve", "server PORT", or a configuration's path.
        level: how it stands.
        what: what was found, a sentence without a full stop.
        hint: what to do; empty where there is nothing.
        brief: the same in less, for where nothing is to be done; empty: `what` is short enough.
        ids: identifiers of a known hole, CVE and GHSA; empty for anything else.
        sources: where to read more, as URLs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str
    level: Level
    what: str
    hint: str = ""
    brief: str = ""
    ids: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
