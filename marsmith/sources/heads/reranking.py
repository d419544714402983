"""A cross-encoder: a query and a document together in, how relevant one is to the other out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from handlers.text import text
from marsmith.errors import UnsupportedError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _chat, _cross_encoder, _on_tokens, _untouched

AUTO = "AutoModelForSequenceClassification"

NEAR = 1e-4  # of scores, in any order of sums


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model from tokens to a logit, (N, 1).

    Raises:
        UnsupportedError: it has several classes.
    """
    config: Any = model.config
    if config.num_labels != 1:
        raise UnsupportedError(
            f"{folder.name} has {config.num_labels} classes; a reranker has one",
            "build it as text_classification, which takes pairs, too",
        )
    return _on_tokens.OnTokens(model)


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """The logits of transformers, and what sentence-transformers, if installed, ranks."""
    asked = [_parsed(each) for each in instances]
    limit = _untouched.most(handler)
    answers: list[object] = [None] * len(asked)
    own = all(handler.get(name) == value for name, value in _said(folder).items())
    if own and not handler.get("defaults"):
        found = _cross_encoder.rank(folder, asked, limit)
        answers = answers if found is None else [_answer(each) for each in found]
    model, tokenizer = _untouched.read(folder, AUTO)
    prompt = str(handler.get("prompt", ""))
    outputs = [
        _untouched.together(model, tokenizer, [(prompt + query, each) for each in documents], limit)
        for query, documents in asked
    ]
    return Untouched(answers, outputs, by=_cross_encoder.BY if any(answers) else "")


def _parsed(instance: object) -> tuple[str, list[str]]:
    found = text.parsed(instance, "", "")
    assert isinstance(found, Mapping)  # noqa: S101 - the handler has decoded it
    return text.read(found["query"]), text.read_list(found["documents"], "documents", "")


def _answer(ranked: Sequence[tuple[int, float]]) -> object:
    """What a client is to get; None where scores are so near that their order is by chance."""
    if any(a[1] - b[1] < NEAR for a, b in pairwise(ranked)):
        return None
    return {"results": [{"index": index, "score": score} for index, score in ranked]}


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer, and say what stands before a query, and how a logit becomes a score.

    Raises:
        UnsupportedError: sentence-transformers would write the pair as a chat.
    """
    if not _cross_encoder.is_one(folder) and _chat.has_one(folder):
        raise UnsupportedError(
            f"{folder.name} has a chat template, in which sentence-transformers writes pairs",
            "leave it out of the folder, if the model has been trained without",
        )
    return {**_cross_encoder.bring(module, folder, out), **_said(folder)}


def _said(folder: Path) -> dict[str, object]:
    """How the folder's own library asks its model."""
    activation = _cross_encoder.activation(folder) or "sigmoid"
    if activation == "softmax":
        raise UnsupportedError(
            f"{folder.name} has a softmax over its one class, which is always 1",
            "set its activation_fn to torch.nn.modules.linear.Identity",
        )
    return {"prompt": _cross_encoder.prompt(folder), "activation": activation}
