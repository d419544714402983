"""JSON as text: what is sent, and what came."""

from __future__ import annotations

import json

JSON = "application/json"


def dump(body: object) -> bytes:
    """Write JSON in ASCII only: a lone surrogate in a str would end TorchServe's worker.

    Raises:
        ValueError: it has a NaN or an infinity in it.
    """
    return json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")
