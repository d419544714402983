"""A model that labels each token of a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from marsmith.sources.heads import _on_tokens, _tokenizer

AUTO = "AutoModelForTokenClassification"


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Tokens to logits, (N, T, classes)."""
    return _on_tokens.OnTokens(model)


def bring(module: torch.nn.Module, folder: Path, out: Path) -> dict[str, Any]:
    """The tokenizer, and the labels of config.json."""
    config: Any = module.model.config  # type: ignore[union-attr]
    (out / _on_tokens.LABELS).write_text(json.dumps(_on_tokens.labels(config)), "utf-8")
    found = {**_tokenizer.bring(module, folder, out), "labels": _on_tokens.LABELS}
    _tokenizer.see_that_it_pads(module, out, found)
    return found
