"""Who may ask, by the keys that `marsmith keys` keeps."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from marsmith.serving.front import keys
from marsmith.serving.front.configuration import SCOPES
from marsmith.serving.ray import refusals

READ_S = 1.0
"""How old what was read may be."""
BEARER = re.compile(r"bearer +([A-Za-z0-9_-]+)", re.I)


class Access:
    """Lets those in who have a key.

    Args:
        files: where keys are kept; they may change at any time.
    """

    def __init__(self, *files: Path) -> None:
        self._files, self._read = files, 0.0
        self._changed: list[int] = []
        self._keys: dict[str, keys.Key] = {}
        self._sent: dict[str, deque[float]] = {}

    def check(self, authorization: Sequence[str], verb: str) -> None:
        """Check the headers `Authorization` of a request, of which there may be one.

        Raises:
            RefusedError: there is no key, it is for something else, or it was used too often,
                which each ingress counts alone.
        """
        said = BEARER.fullmatch(authorization[0]) if len(authorization) == 1 else None
        key = self._known().get(keys.digest(said[1])) if said else None
        if key is None:
            raise refusals.no_key()
        if key.rate:
            now, sent = time.monotonic(), self._sent.setdefault(key.name, deque())
            while sent and sent[0] < now - 1:
                sent.popleft()
            if len(sent) >= key.rate:
                raise refusals.too_often(key.rate)
            sent.append(now)
        for scope, verbs in SCOPES.items():
            if verb in verbs.split() and scope not in key.scopes:
                raise refusals.no_scope(key.name, ",".join(key.scopes), scope)

    def _known(self) -> dict[str, keys.Key]:
        now = time.monotonic()
        if now - self._read > READ_S:
            self._read = now
            changed = [each.stat().st_mtime_ns if each.exists() else 0 for each in self._files]
            if changed != self._changed:
                found = (key for file in self._files for key in keys.kept(file))
                self._keys = {key.sha256: key for key in found}
                self._changed = changed
        return self._keys
