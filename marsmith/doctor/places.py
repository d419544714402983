"""The folders that marsmith writes to: whether it can, who else can, and how much room there is."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from marsmith.doctor.findings import Finding, Level
from marsmith.errors import MarsmithError
from marsmith.serving.front import keys
from marsmith.serving.host import intake
from marsmith.serving.host.run_folder import LONGEST_TEMP, servers_folder, state_folder

PART = "folders"
FULL_BYTES, LITTLE_BYTES = 1e9, 5e9
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS_READ = stat.S_IRGRP | stat.S_IROTH


def check(model_store: Path) -> Iterator[Finding]:
    """Look at the state folder, the model store and the folder for temporary files.

    Args:
        model_store: where archives are kept; the cache of builds lies in it.
    """
    try:
        state = state_folder()
    except RuntimeError:  # no HOME, and no entry in the system's list of users
        yield _finding("bad", "there is no home directory", "set HOME, or MARSMITH_STATE")
    else:
        yield from _folder("the state folder", state, "set MARSMITH_STATE to one of your own")
        yield from _state(state)
    yield from _folder("the model store", model_store, "name another with --model-store")
    temp = Path(tempfile.gettempdir())
    # Every user may write to /tmp, but each to files of his own alone.
    yield from _folder("the temporary folder", temp, "set TMPDIR", shared=True)
    if len(os.fsencode(temp)) > LONGEST_TEMP:
        yield _finding("note", f"{temp} is too long for sockets: servers use /tmp instead")


def _state(state: Path) -> Iterator[Finding]:
    if (file := keys.keys_file()).exists():
        yield from _private("the keys", file, OTHERS_READ | OTHERS_WRITE)
    if (policy := intake.policy()).exists():
        for path in (policy, *sorted(policy.iterdir())):
            yield from _private("whose signatures are trusted", path, OTHERS_WRITE)
    for run_dir in sorted(servers_folder().glob("*")):
        yield from _private("a server's keys", run_dir, OTHERS_READ | OTHERS_WRITE)


def _folder(name: str, path: Path, hint: str, shared: bool = False) -> Iterator[Finding]:
    """Look at one folder: of one that isn't there yet, at where it would be made."""
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        yield _finding("bad", f"{name}, {path}: {there} is a file", hint)
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield _finding("bad", f"{name}, {path}, can't be written to", f"chmod u+wx, or {hint}")
        return
    if not shared and there == path.absolute():
        # A group may well share a store.
        yield from _private(name, path, stat.S_IWOTH)
    free = shutil.disk_usage(there).free
    said = f"{name}, {path}: {free / 1e9:.1f} GB free"
    if free < FULL_BYTES:
        yield _finding("bad", said, f"free some space, or {hint}")
    elif free < LITTLE_BYTES:
        yield _finding("note", said, "a build of a large model may need more")
    else:
        yield _finding("good", said)


def _private(name: str, path: Path, forbidden: int) -> Iterator[Finding]:
    """Say if others may do to a path what they shouldn't."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise MarsmithError(f"{path} can't be looked at: {error.strerror}") from error
    if mode & forbidden:
        may = "write to" if mode & OTHERS_WRITE & forbidden else "read"
        letters = "rwx" if forbidden & stat.S_IRGRP else "w"
        yield _finding(
            "bad", f"{name}, {path}: others may {may} it ({stat.filemode(mode)})",
            f"chmod go-{letters} {path}",
        )  # fmt: skip


def _finding(level: Level, what: str, hint: str = "") -> Finding:
    return Finding(part=PART, level=level, what=what, hint=hint)
