"""What a folder's own model says to texts, run by transformers alone."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from marsmith.sources.heads import _tokenizer

Pair = tuple[str, str | None]


def read(folder: Path, auto: str) -> tuple[Any, Any]:
    """Read the model, with numbers of 32 bits, and the tokenizer, as transformers does by itself.

    Args:
        folder: of the model.
        auto: the class of transformers that reads it.
    """
    transformers: Any = importlib.import_module("transformers")
    here: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    model = getattr(transformers, auto).from_pretrained(folder, dtype=torch.float32, **here)
    return model.eval(), _tokenizer.of_transformers(folder)


def most(handler: Mapping[str, object]) -> int | None:
    """How many tokens the handler reads."""
    said = handler.get("max_tokens")
    return said if isinstance(said, int) else None


def outputs(
    model: Any, tokenizer: Any, pairs: Sequence[Pair], limit: int | None, count: int = 1
) -> list[tuple[torch.Tensor, ...] | None]:
    """Run each text, or pair of texts, alone.

    Args:
        model: of transformers.
        tokenizer: of transformers.
        pairs: texts, and what may come with them.
        limit: tokens that are read; of a longer text nothing is said.
        count: how many of the model's outputs are wanted, from the first.
    """
    found: list[tuple[torch.Tensor, ...] | None] = []
    for text, other in pairs:
        tokens = tokenizer(text, other, return_tensors="pt")
        if limit is not None and tokens["input_ids"].shape[1] > limit:
            found.append(None)
            continue
        with torch.inference_mode():
            found.append(tuple(each.float() for each in model(**tokens).to_tuple()[:count]))
    return found


def together(
    model: Any, tokenizer: Any, pairs: Sequence[Pair], limit: int | None
) -> tuple[torch.Tensor, ...] | None:
    """Run the pairs of one instance, each alone: (pairs, ...); None if `outputs` says not all."""
    found = outputs(model, tokenizer, pairs, limit)
    known = [each[0] for each in found if each is not None]
    return (torch.cat(known),) if known and len(known) == len(found) else None
