"""A classifier of texts, or of pairs of them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from handlers.text import text
from marsmith.errors import UnsupportedError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _cross_encoder, _on_tokens, _untouched

AUTO = "AutoModelForSequenceClassification"


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model from tokens to logits, (N, classes)."""
    return _on_tokens.OnTokens(model)


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What the folder's own library makes of texts, or pairs of them: logits, and scores."""
    model, tokenizer = _untouched.read(folder, AUTO)
    pairs = [text.read_pair(each) for each in instances]
    limit = _untouched.most(handler)
    outputs = _untouched.outputs(model, tokenizer, pairs, limit)
    said = {"labels": _on_tokens.LABELS, "activation": _activation(model.config, folder)}
    answers: list[object] = [None] * len(pairs)
    if not all(handler.get(name, value) == value for name, value in said.items()):
        return Untouched(answers, outputs)
    if _cross_encoder.activation(folder):
        answers = _asked(folder, pairs, limit, _on_tokens.labels(model.config))
        return Untouched(answers, outputs, by=_cross_encoder.BY if any(answers) else "")
    transformers: Any = importlib.import_module("transformers")
    ask = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    for place, ((first, second), logits) in enumerate(zip(pairs, outputs, strict=True)):
        if logits is not None:
            asked = {"text": first, **({} if second is None else {"text_pair": second})}
            scores = {each["label"]: each["score"] for each in ask(asked, top_k=None)}
            answers[place] = {"scores": scores}
    return Untouched(answers, outputs)


def _asked(
    folder: Path, pairs: Sequence[_untouched.Pair], limit: int | None, labels: Sequence[str]
) -> list[object]:
    """What sentence-transformers, if installed, answers."""
    questions = [[each for each in pair if each is not None] for pair in pairs]
    found = _cross_encoder.ask(folder, questions, limit)
    if found is None:
        return [None] * len(pairs)
    return [
        {"scores": dict(zip(labels, torch.atleast_1d(each).tolist(), strict=True))}
        for each in found
    ]


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer and the labels of config.json, and say how logits become scores.

    Raises:
        UnsupportedError: the folder is a cross-encoder with a prompt.
    """
    config: Any = module.model.config  # type: ignore[union-attr]
    (out / _on_tokens.LABELS).write_text(json.dumps(_on_tokens.labels(config)), "utf-8")
    if _cross_encoder.prompt(folder):
        raise UnsupportedError(
            f"{folder.name} has a prompt, which text_classification doesn't put before texts",
            "build it as reranking, or set 'default_prompt_name' to null in its settings",
        )
    tokens = _cross_encoder.bring(module, folder, out)
    return {**tokens, "labels": _on_tokens.LABELS, "activation": _activation(config, folder)}


def _activation(config: Any, folder: Path) -> str:
    """What the folder itself says, or else what transformers' own pipeline chooses."""
    said = _cross_encoder.activation(folder)
    if said is not None:
        return said
    if config.problem_type == "regression":
        return "none"
    many = config.problem_type == "multi_label_classification"
    return "sigmoid" if many or config.num_labels == 1 else "softmax"
