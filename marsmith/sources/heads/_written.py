"""What generation_config.json says of how texts are written, in the words of tasks that write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marsmith.errors import BuildError, UnsupportedError

# Settings of generation_config.json that are options of a request, too, by the same names.
OPTIONS = (
    "num_beams", "length_penalty", "early_stopping", "no_repeat_ngram_size", "repetition_penalty",
)  # fmt: skip
SAMPLING = {"temperature": 1.0, "top_k": 50, "top_p": 1.0}
# Settings that change what is written and aren't known here, with values that change nothing.
UNKNOWN: dict[str, tuple[object, ...]] = {
    "encoder_repetition_penalty": (1.0,), "encoder_no_repeat_ngram_size": (0,),
    "sequence_bias": (), "exponential_decay_length_penalty": (), "diversity_penalty": (0.0,),
    "num_beam_groups": (1,), "penalty_alpha": (0.0,), "constraints": (), "force_words_ids": (),
    "renormalize_logits": (False,), "remove_invalid_values": (False,), "stop_strings": (),
    "num_return_sequences": (1,), "guidance_scale": (1.0,), "typical_p": (1.0,), "min_p": (),
    "epsilon_cutoff": (0.0,), "eta_cutoff": (0.0,), "top_h": (), "watermarking_config": (),
    "token_healing": (False,), "prompt_lookup_num_tokens": (), "dola_layers": (), "max_time": (),
}  # fmt: skip
HINT = "set it to its default in generation_config.json, if you can do without"


def named(generation: Any, tokenizer: Any, setting: str) -> list[str]:
    """The names of the tokens that a setting has by their numbers.

    Raises:
        BuildError: the tokenizer doesn't have them.
    """
    value = getattr(generation, setting, None)
    numbers = value if isinstance(value, list) else [] if value is None else [value]
    names = [tokenizer.id_to_token(number) for number in numbers]
    if None in names:
        raise BuildError(f"the tokenizer has no token {numbers} for {setting!r}")
    return [str(name) for name in names]


def bad_words(generation: Any, tokenizer: Any) -> list[str]:
    """The tokens of `bad_words_ids`.

    Raises:
        UnsupportedError: some are words of several tokens.
    """
    words = generation.bad_words_ids or []
    ends = generation.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    kept = [word for word in words if not (len(word) == 1 and word[0] in ends)]
    if any(len(word) != 1 for word in kept):
        raise UnsupportedError("'bad_words_ids' has words of several tokens", HINT)
    return [tokenizer.id_to_token(word[0]) for word in kept]


def refuse(generation: Any, unknown: Mapping[str, tuple[object, ...]]) -> None:
    """Refuse settings that change what is written.

    Args:
        generation: the folder's settings.
        unknown: their names, with values that change nothing.

    Raises:
        UnsupportedError: one has another value.
    """
    for name, harmless in unknown.items():
        value = getattr(generation, name, None)
        if value is not None and value not in harmless:
            raise UnsupportedError(f"{name!r} in generation_config.json isn't known here", HINT)


def defaults(generation: Any, begun: int) -> dict[str, object]:
    """The options that transformers' `generate` would take from the folder.

    Args:
        generation: the folder's settings.
        begun: how many tokens its lengths count beside those that are written.

    Raises:
        UnsupportedError: one that isn't known here.
    """
    refuse(generation, UNKNOWN)
    found = {name: getattr(generation, name, None) for name in OPTIONS}
    if found["early_stopping"] == "never":
        raise UnsupportedError("'early_stopping: never' isn't known here", HINT)
    if generation.do_sample:
        if (generation.num_beams or 1) > 1:
            raise UnsupportedError("beams that are drawn by chance aren't known here", HINT)
        found |= {
            name: otherwise
            if getattr(generation, name, None) is None
            else getattr(generation, name)
            for name, otherwise in SAMPLING.items()
        }
    found["max_new_tokens"] = generation.max_new_tokens
    if found["max_new_tokens"] is None and generation.max_length is not None:
        found["max_new_tokens"] = generation.max_length - begun
    shortest = [max((generation.min_length or 0) - begun, 0), generation.min_new_tokens or 0]
    found["min_new_tokens"] = max(shortest)
    return {name: value for name, value in found.items() if value is not None}
