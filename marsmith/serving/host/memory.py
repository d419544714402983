"""How much memory is free to this machine's, or this container's, processes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def free() -> int:
    """The bytes that may still be taken: the machine's, within the container's limit.

    See: `memory.max`, `memory.current` and `memory.stat` of cgroup v2 in Linux's documentation.
    """
    there = psutil.virtual_memory().available
    with suppress(OSError, ValueError, KeyError):  # no cgroup v2 here, or no limit ("max")
        most, taken = (
            int((CGROUP / f"memory.{each}").read_text("ascii")) for each in ("max", "current")
        )
        stat = dict(
            line.split() for line in (CGROUP / "memory.stat").read_text("ascii").splitlines()
        )
        there = min(there, most - taken + int(stat["inactive_file"]))  # these can be dropped
    return max(0, there)
