"""Machines that are awkward: a full disk, a read-only one, no home, another user."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.paths import ROOT

TIMEOUT_S = 300
# Mounts in a namespace of its own; says what is left, since nobody else can see it.
MOUNTED = """
mount -t tmpfs -o size="$1" none "$2" || exit 99
disk="$2"; prepare="$3"; shift 3
eval "$prepare"
find "$disk" -type f | sort > /dev/shm/marsmith-before.$$
"$@"
code=$?
echo "--- left" >&2
find "$disk" -type f | sort | comm -13 /dev/shm/marsmith-before.$$ - >&2
rm /dev/shm/marsmith-before.$$
exit $code
"""
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
NO_ENTRY = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups")
HOMELESS = ("env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME", "-u", "MARSMITH_STATE")


@dataclass(frozen=True)
class Told:
    """What a command did.

    Attributes:
        status: its exit status.
        out: its stdout.
        err: its stderr.
        left: files on the disk that weren't there before.
    """

    status: int
    out: str
    err: str
    left: tuple[str, ...] = ()


def on_disk(size: str, disk: Path, prepare: str, arguments: Sequence[object], cwd: Path) -> Told:
    """Run `marsmith` where a folder is a small disk of its own.

    Args:
        size: of the disk, as `mount` takes it.
        disk: the folder.
        prepare: shell that is run before, with the disk mounted; `$disk` is the folder.
        arguments: of the command.
        cwd: where it is run.
    """
    words = ("unshare", "-m", "bash", "-c", MOUNTED, "-", size, disk, prepare)
    told = _run((*words, sys.executable, "-m", "marsmith.cli", *arguments), cwd)
    err, _, left = told.err.partition("--- left\n")
    return Told(told.status, told.out, err, tuple(left.splitlines()))


def as_another(who: Sequence[str], arguments: Sequence[object], cwd: Path) -> Told:
    """Run `marsmith` as another user, with a Python that this user can start."""
    python, path = another_python()
    words = (*who, python, "-m", "marsmith.cli", *arguments)
    return _run(words, cwd, {"PYTHONPATH": path})


@cache
def another_python() -> tuple[str, str]:
    """A Python that nobody can start, and its PYTHONPATH; empty if there is none."""
    site = sysconfig.get_path("purelib")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}"):
        path = os.pathsep.join([str(ROOT), site])
        words = (*NOBODY, "env", python, "-c", "import marsmith, torch")
        told = _run(words, ROOT, {"PYTHONPATH": path})
        if told.status == 0:
            return python, path
    return "", ""


@cache
def can_mount() -> bool:
    """Whether this process may mount."""
    words = ("unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=4k", "none", "/mnt")
    return _run(words, ROOT).status == 0


def _run(words: Sequence[object], cwd: Path, more: Mapping[str, str] | None = None) -> Told:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(more or {})}
    try:
        done = subprocess.run(
            [str(word) for word in words], cwd=cwd, env=environment, capture_output=True,
            text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:  # no unshare, no setpriv
        return Told(127, "", str(error))
    return Told(done.returncode, done.stdout, done.stderr)
