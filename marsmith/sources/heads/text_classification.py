"""A classifier of texts, or of pairs of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from marsmith.sources.heads import _on_tokens, _tokenizer

AUTO = "AutoModelForSequenceClassification"


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model from tokens to logits, (N, classes)."""
    return _on_tokens.OnTokens(model)


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer and the labels of config.json, and say how logits become scores."""
    config: Any = module.model.config  # type: ignore[union-attr]
    (out / _on_tokens.LABELS).write_text(json.dumps(_on_tokens.labels(config)), "utf-8")
    tokens: _tokenizer.TokenSettings = {
        **_tokenizer.bring(module, folder, out),
        **_on_tokens.settings(module),
    }
    _tokenizer.see_that_it_pads(module, out, tokens)
    return {**tokens, "labels": _on_tokens.LABELS, "activation": _activation(config)}


def _activation(config: Any) -> str:
    """The activation that transformers' own pipeline chooses."""
    if config.problem_type == "regression":
        return "none"
    many = config.problem_type == "multi_label_classification"
    return "sigmoid" if many or config.num_labels == 1 else "softmax"
