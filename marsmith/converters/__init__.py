"""One file per runtime: each writes what `handlers/runtimes/<same name>.py` loads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Artifact:
    """A converted model on disk.

    Attributes:
        model: the file that the runtime's `load` is given.
        files: further files that must lie beside it.
        options: what the runtime's `load` is called with, by name.
    """

    model: Path
    files: tuple[Path, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
