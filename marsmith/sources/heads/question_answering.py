"""A model that says where in a text an answer begins and ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from marsmith.sources.heads import _on_tokens, _tokenizer

AUTO = "AutoModelForQuestionAnswering"

MOST = 384, 128  # tokens of a window, and shared with the next; what SQuAD's models are trained on


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Tokens to logits of starts and of ends, (N, T) each."""
    return _on_tokens.OnTokens(model, outputs=2)


def bring(module: torch.nn.Module, folder: Path, out: Path) -> dict[str, Any]:
    """The tokenizer, and how large windows are."""
    found = _tokenizer.bring(module, folder, out)
    tokens = min(found.get("max_tokens", MOST[0]), MOST[0])
    overlap = min(tokens // 2, MOST[1])
    found |= {**_on_tokens.settings(module), "max_tokens": tokens, "overlap": overlap}
    _tokenizer.see_that_it_pads(module, out, found)
    return found
