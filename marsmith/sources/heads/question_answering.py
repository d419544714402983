"""A model that finds where in a text an answer begins and ends."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from handlers.text import text
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _on_tokens, _untouched

AUTO = "AutoModelForQuestionAnswering"

PARTS = "question", "context"
MOST = 384, 128  # tokens in a window, and shared with the next, as SQuAD's models are trained


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model from tokens to the logits of starts and of ends, each (N, T)."""
    return _on_tokens.OnTokens(model, outputs=2)


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers makes of questions and contexts: the logits of starts and ends."""
    model, tokenizer = _untouched.read(folder, AUTO)
    pairs = [text.read_pair(_parsed(each), PARTS) for each in instances]
    outputs = _untouched.outputs(model, tokenizer, pairs, _untouched.most(handler), count=2)
    return Untouched([None] * len(outputs), outputs)


def _parsed(instance: object) -> object:
    return json.loads(instance) if isinstance(instance, (bytes, str)) else instance


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer, and say how large windows are."""
    tokens = _on_tokens.bring(module, folder, out)
    tokens["max_tokens"] = min(tokens.get("max_tokens", MOST[0]), MOST[0])
    return {**tokens, "overlap": min(tokens["max_tokens"] // 2, MOST[1])}
