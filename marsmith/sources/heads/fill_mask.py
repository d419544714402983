"""A masked language model: which tokens may stand where a text has a mask."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from handlers.text import text
from marsmith.errors import BuildError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _on_tokens, _tokenizer, _untouched

AUTO = "AutoModelForMaskedLM"

NEAR = 1e-5  # of probabilities, in any order of sums


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model from tokens to logits, (N, T, tokens)."""
    return _on_tokens.OnTokens(model)


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers makes of texts: logits, and what its own pipeline fills in."""
    model, tokenizer = _untouched.read(folder, AUTO)
    texts = [text.read(each) for each in instances]
    outputs = _untouched.outputs(
        model, tokenizer, [(each, None) for each in texts], _untouched.most(handler)
    )
    transformers: Any = importlib.import_module("transformers")
    ask = transformers.pipeline("fill-mask", model=model, tokenizer=tokenizer)
    said = {"mask_token": tokenizer.mask_token, "clean_up": _cleans(tokenizer)}
    own = all(handler.get(name) == value for name, value in said.items())
    answers: list[object] = [
        None if logits is None or not own or handler.get("defaults") else _asked(ask, each)
        for each, logits in zip(texts, outputs, strict=True)
    ]
    return Untouched(answers, outputs)


def _asked(ask: Any, written: str) -> object:
    """What the pipeline fills in; None where tokens are so near that their order is by chance."""
    wanted = 5  # the handler's own default
    found = ask(written, top_k=wanted + 1)
    masks = found if isinstance(found[0], list) else [found]
    for row in masks:
        scores = [each["score"] for each in row]
        if any(a - b < NEAR for a, b in pairwise(scores)):
            return None
    return {"masks": [row[:wanted] for row in masks]}


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer, and say which token is the mask.

    Raises:
        BuildError: the folder doesn't say it.
    """
    auto: Any = importlib.import_module("transformers").AutoTokenizer
    tokenizer = auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if tokenizer.mask_token is None:
        raise BuildError(
            f"the tokenizer of {folder.name} has no mask",
            "name its 'mask_token' in tokenizer_config.json",
        )
    brought = _on_tokens.bring(module, folder, out)
    _decode_as(tokenizer, out / _tokenizer.FILE)
    return {**brought, "mask_token": tokenizer.mask_token, "clean_up": _cleans(tokenizer)}


def _decode_as(tokenizer: Any, file: Path) -> None:
    """Let the tokenizer that travels write texts as transformers does, which has its own way."""
    from tokenizers import Tokenizer

    travels: Any = Tokenizer.from_file(str(file))
    if tokenizer.backend_tokenizer.decoder is not None:
        travels.decoder = tokenizer.backend_tokenizer.decoder
        travels.save(str(file))


def _cleans(tokenizer: Any) -> bool:
    """Whether transformers takes blanks before signs out of what it decodes."""
    said = bool(tokenizer.clean_up_tokenization_spaces)
    return said and type(tokenizer.backend_tokenizer.model).__name__ != "BPE"
