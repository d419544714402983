"""An encoder–decoder that writes texts from texts: T5, BART, Marian and their like."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from handlers.text import text
from marsmith.errors import BuildError, UnsupportedError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import (
    _generate,
    _numbered_pieces,
    _sourced_decoding,
    _tokenizer,
    _untouched,
    _written,
)
from marsmith.sources.heads._encoder_decoder import EncoderDecoder

AUTO = "AutoModelForSeq2SeqLM"

LONGEST = 1024  # tokens, where a model's settings name no limit
LIMITS = ("max_position_embeddings", "max_target_positions")
# Names of languages among tokens: __fr__ of M2M100, fr_XX of mBART, fra_Latn of NLLB.
LANGUAGE = re.compile(r"__[a-z]{2,3}__|[a-z]{2,3}_[A-Z]{2}|[a-z]{3}_[A-Z][a-z]{3}")


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model in `EncoderDecoder`.

    Raises:
        UnsupportedError: it isn't known how the model counts positions, or what it caches; or it
            would write otherwise token by token than it reads whole texts.
    """
    config: Any = model.config
    if getattr(config, "attention_type", "original_full") != "original_full":
        raise UnsupportedError(
            "this model leaves out some attention in long texts",
            "set 'attention_type: original_full'",
        )
    limits = [getattr(config, name, None) for name in LIMITS]
    known = [limit for limit in limits if isinstance(limit, int)]
    read = _sourced_decoding.whole(model)
    module = EncoderDecoder(model, min([*known, LONGEST]))
    _sourced_decoding.see_that_it_writes(module, read)
    return module


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer, and say the model's form, and how it writes.

    Raises:
        BuildError: the folder doesn't say what the decoder begins with.
        UnsupportedError: generation_config.json has a setting that isn't known here, or texts
            would be split otherwise than transformers does.
    """
    assert isinstance(module, EncoderDecoder)  # noqa: S101 - `wrap` returns no other
    parts = _numbered_pieces.read(folder)
    brought = _tokenizer.bring(module, folder, out, parts.names if parts else None)
    generation: Any = module.model.generation_config
    layers, heads, size = module.form
    return {
        **brought,
        **(_numbered_pieces.bring(parts, folder, out) if parts else {}),
        "max_tokens": min(brought.get("max_tokens", LONGEST), LONGEST),
        "max_target_tokens": module.positions,
        "layers": layers,
        "key_value_heads": heads,
        "head_size": size,
        **_tokens(generation, out / _tokenizer.FILE),
        "defaults": _written.defaults(generation, 1),
    }


def _tokens(generation: Any, file: Path) -> dict[str, object]:
    """What texts begin and end with, by the names of tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))

    def named(setting: str) -> list[str]:
        return _written.named(generation, tokenizer, setting)

    start = named("decoder_start_token_id") or named("bos_token_id")
    first = named("forced_bos_token_id")
    if len(start) != 1 or len(first) > 1:
        raise BuildError(
            "generation_config.json must name one 'decoder_start_token_id', and at most one "
            f"'forced_bos_token_id'; it names {start} and {first}"
        )
    suppressed = [*named("suppress_tokens"), *_written.bad_words(generation, tokenizer)]
    clash = sorted({*first, *named("forced_eos_token_id")} & {*suppressed})
    if clash:
        raise UnsupportedError(
            f"the token {clash[0]!r} is both forced and forbidden", _written.HINT
        )
    vocabulary = sorted(tokenizer.get_vocab())
    found: dict[str, object] = {
        "start_token": start[0],
        "stop_tokens": named("eos_token_id"),
        "last_tokens": named("forced_eos_token_id"),
        "suppressed_tokens": suppressed,
        "suppressed_first": named("begin_suppress_tokens"),
        "languages": [token for token in vocabulary if LANGUAGE.fullmatch(token)],
    }
    return {**found, "first_token": first[0]} if first else found


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched | None:
    """What transformers makes of each text alone.

    To all the logits of the first token, and to some what it writes of the likeliest tokens, in the
    language that the handler writes in by itself.
    """
    said = handler.get("defaults")
    said = said if isinstance(said, Mapping) else {}
    model, tokenizer = _untouched.read(folder, AUTO)
    generation, more = model.generation_config, {}
    if language := said.get("target_language"):
        more["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids(language)
    start = generation.decoder_start_token_id
    begin = torch.tensor([[generation.bos_token_id if start is None else start]])
    most = min([_generate.TOKENS, *_positions(handler)])
    plain = {**_written.defaults(generation, 1), "temperature": 0.0, "num_beams": 1}
    answers: list[object] = []
    outputs: list[Mapping[str, torch.Tensor]] = []
    options: list[Mapping[str, object]] = []
    for index, instance in enumerate(instances):
        tokens = tokenizer(
            str(said.get("prefix", "")) + text.read(instance), return_tensors="pt",
            truncation=True, max_length=_untouched.most(handler),
        )  # fmt: skip
        with torch.inference_mode():
            found = model(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"],
                decoder_input_ids=begin,
            )  # fmt: skip
        outputs.append({"logits": found.logits})
        written = None
        if index < _generate.TEXTS and most > 0:
            written = _generate.greedily(model, tokens, most, **more)
        answers.append(written.answer(tokenizer) if written and written.most else None)
        options.append({**plain, "max_new_tokens": written.most if written else 0})
    return Untouched(answers, outputs, options)


def _positions(handler: Mapping[str, object]) -> list[int]:
    """How many tokens may follow the one that the decoder begins with."""
    said = handler.get("max_target_tokens")
    return [said - 1] if isinstance(said, int) else []
