"""A classifier of texts, or of pairs of them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from handlers.text import text
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _on_tokens, _tokenizer, _untouched

AUTO = "AutoModelForSequenceClassification"


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model from tokens to logits, (N, classes)."""
    return _on_tokens.OnTokens(model)


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers makes of texts, or pairs of them: logits, and its pipeline's scores."""
    model, tokenizer = _untouched.read(folder, AUTO)
    pairs = [text.read_pair(each) for each in instances]
    outputs = _untouched.outputs(model, tokenizer, pairs, _untouched.most(handler))
    transformers: Any = importlib.import_module("transformers")
    ask = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    said = {"labels": _on_tokens.LABELS, "activation": _activation(model.config)}
    as_the_folder = all(handler.get(name, value) == value for name, value in said.items())
    answers: list[object] = []
    for (first, second), logits in zip(pairs, outputs, strict=True):
        asked = {"text": first, **({} if second is None else {"text_pair": second})}
        found = [] if logits is None or not as_the_folder else ask(asked, top_k=None)
        scores = {each["label"]: each["score"] for each in found}
        answers.append({"scores": scores} if scores else None)
    return Untouched(answers, outputs)


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
