"""Folders of tiny cross-encoders, as sentence-transformers and transformers write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

IDENTITY = "torch.nn.modules.linear.Identity"


def say(folder: Path, **settings: Any) -> Path:
    """Write settings into the folder's config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return folder


def as_the_library_saves(folder: Path, out: Path, activation: Any, **settings: Any) -> Path:
    """Let sentence-transformers read a folder of transformers' and save it anew."""
    from sentence_transformers import CrossEncoder

    read: dict[str, Any] = {"device": "cpu", "local_files_only": True}
    CrossEncoder(str(folder), activation_fn=activation, **read, **settings).save(str(out))
    return out
