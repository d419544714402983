"""A model that labels each token of a text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from handlers.text import text
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _on_tokens, _tokenizer, _untouched

AUTO = "AutoModelForTokenClassification"


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model from tokens to logits, (N, T, classes)."""
    return _on_tokens.OnTokens(model)


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers makes of texts: the logits of their tokens."""
    model, tokenizer = _untouched.read(folder, AUTO)
    pairs = [(text.read(each), None) for each in instances]
    outputs = _untouched.outputs(model, tokenizer, pairs, _untouched.most(handler))
    return Untouched([None] * len(outputs), outputs)


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer, and the labels of config.json."""
    config: Any = module.model.config  # type: ignore[union-attr]
    (out / _on_tokens.LABELS).write_text(json.dumps(_on_tokens.labels(config)), "utf-8")
    tokens = _tokenizer.bring(module, folder, out)
    _tokenizer.see_that_it_pads(module, out, tokens)
    return {**tokens, "labels": _on_tokens.LABELS}
