"""Who oras' client is to a registry: what `docker login` and `podman login` have written.

See: containers-auth.json(5); https://distribution.github.io/distribution/spec/auth/token/.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def log_in(client: Any, container: Any) -> None:
    """Have a client say who asks.

    By itself oras reads the usual file of `docker login` alone, and takes each registry for one
    that hands out tokens; one that asks for a name and a password itself was never answered.

    Args:
        client: an `OrasClient`.
        container: what it is to ask for.
    """
    auth, session = client.auth, client.session
    said = next((found for file in _files() if (found := _read(file, container.registry))), None)
    if said:
        auth.set_basic_auth(*said)
    else:
        auth.load_configs(container)
    for_a_token = auth.authenticate_request

    def authenticate(asked: Any, headers: Any, refresh: bool = False) -> tuple[Any, bool]:
        if not asked.headers.get("Www-Authenticate", "").lower().startswith("basic"):
            told: tuple[Any, bool] = for_a_token(asked, headers, refresh)
            return told
        # From now on with each request, so that no part of an archive is sent twice; requests
        # leaves it out where another host is asked.
        if pair := getattr(auth, "_basic_auth", None):
            session.headers["Authorization"] = f"Basic {pair}"
        return headers, True

    auth.authenticate_request = authenticate


def _files() -> Iterator[Path]:
    """Where `podman login`, and `docker login` in another folder than usual, write."""
    run = os.environ.get("XDG_RUNTIME_DIR")
    usual = Path(run or "/run", "containers", "" if run else str(os.getuid()), "auth.json")
    yield Path(os.environ.get("REGISTRY_AUTH_FILE") or usual)
    if folder := os.environ.get("DOCKER_CONFIG"):
        yield Path(folder, "config.json")


def _read(file: Path, registry: str) -> tuple[str, str] | None:
    """The name and the password that a file has for a registry."""
    try:
        said = json.loads(file.read_text("utf-8"))["auths"][registry]["auth"]
        name, _, password = base64.b64decode(said).decode().partition(":")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name, password
