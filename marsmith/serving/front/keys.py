"""Keys to the front: named, kept as SHA-256 alone, each for some scopes.

    <state>/keys.json, or $MARSMITH_KEYS

They are those of all servers of a state folder, and last longer than any of them. A running server
takes a change within a second.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from marsmith.atomic import replacing
from marsmith.errors import MarsmithError
from marsmith.serving.host.run_folder import state_folder

Scope = Literal["predict", "explain", "metrics"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
LOCAL = "local"
"""The name of the key that each server makes for the commands of its own user."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Key(BaseModel):
    """What is kept of a key.

    Args:
        name: what it is called; the access log says who asked by it.
        sha256: of the key, in hexadecimal; the key itself is nowhere.
        scopes: what it is for.
        rate: requests per second that it may send; 0 for as many as can be answered.
        added: when, in seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str
    scopes: tuple[Scope, ...]
    rate: int = 0
    added: float


class _Kept(BaseModel):
    keys: tuple[Key, ...] = ()


def make() -> str:
    """Make a key: 256 bits of chance, in letters that go into a header."""
    return secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """The SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def keys_file() -> Path:
    """Where keys are kept: `$MARSMITH_KEYS`, or in the state folder."""
    named = os.environ.get("MARSMITH_KEYS")
    return Path(named).absolute() if named else state_folder() / "keys.json"


def kept(file: Path | None = None) -> tuple[Key, ...]:
    """Read all keys.

    Args:
        file: where they are; by default `keys_file`.

    Raises:
        MarsmithError: the file can't be read.
    """
    file = file or keys_file()
    try:
        return _Kept.model_validate_json(file.read_bytes()).keys
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError) as error:
        raise MarsmithError(
            f"the keys in {file} can't be read: {error}",
            hint="mend the file, or remove it and add the keys anew",
        ) from error


def add(name: str, scopes: Sequence[str] = ("predict",), rate: int = 0) -> str:
    """Add a key.

    Returns:
        The key, which is kept nowhere.

    Raises:
        MarsmithError: the name is taken or not allowed, or there is no such scope.
    """
    if not NAME.fullmatch(name) or name == LOCAL:
        raise MarsmithError(
            f"a key can't be named {name!r}: a name has up to 64 letters, digits, '_', '.' and '-',"
            f" begins with a letter or digit, and is not {LOCAL!r}"
        )
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise MarsmithError(f"there is no scope {unknown[0]!r}; there are: {', '.join(SCOPES)}")
    key = make()
    for_what = tuple(scope for scope in SCOPES if scope in scopes)
    with _changing() as keys:
        if any(each.name == name for each in keys):
            raise MarsmithError(
                f"there is a key named {name!r} already",
                hint=f"take another name, or `marsmith keys revoke {name}` first",
            )
        keys.append(
            Key(name=name, sha256=digest(key), scopes=for_what, rate=rate, added=time.time())
        )
    return key


def revoke(name: str) -> None:
    """Remove a key.

    Raises:
        MarsmithError: there is none of that name.
    """
    with _changing() as keys:
        left = [each for each in keys if each.name != name]
        if len(left) == len(keys):
            names = ", ".join(each.name for each in keys) or "none"
            raise MarsmithError(f"there is no key named {name!r}; there are: {names}")
        keys[:] = left


def write_local(file: Path, key: str) -> None:
    """Write a file of keys with one alone: a server's for the commands of its own user."""
    local = Key(name=LOCAL, sha256=digest(key), scopes=SCOPES, added=time.time())
    with replacing(file) as unfinished:
        unfinished.touch(mode=0o600)
        unfinished.write_text(_Kept(keys=(local,)).model_dump_json(), "utf-8")


@contextmanager
def _changing() -> Iterator[list[Key]]:
    file = keys_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (file.parent / "keys.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = list(kept())
        yield keys
        with replacing(file) as unfinished:
            unfinished.touch(mode=0o600)
            unfinished.write_text(_Kept(keys=tuple(keys)).model_dump_json(indent=2), "utf-8")
