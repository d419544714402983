"""A causal language model that takes and returns its cache as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from handlers.text import text
from marsmith.errors import UnsupportedError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import (
    _attention,
    _chat,
    _decoding,
    _generate,
    _past,
    _tokenizer,
    _untouched,
    _written,
    read_object,
)

AUTO = "AutoModelForCausalLM"

LONGEST = 2048  # tokens; many models say 100,000 and more, whose cache would take gigabytes
SAMPLING = ("temperature", "top_k", "top_p", "repetition_penalty")
# Settings of encoder–decoders that are known, and not here.
UNKNOWN: dict[str, tuple[object, ...]] = {
    "suppress_tokens": ([],), "begin_suppress_tokens": ([],), "bad_words_ids": ([],),
    "forced_bos_token_id": (), "no_repeat_ngram_size": (0,), "num_beams": (1,),
    "min_length": (0,), "min_new_tokens": (0,), **_written.UNKNOWN,
}  # fmt: skip


class CausalLM(torch.nn.Module):
    """A model of transformers as `handlers.generation.decoding` calls it.

    Args:
        model: for causal language modelling, with a cache of keys and values for each layer.
        positions: how many tokens it takes at most.

    Attributes:
        form: the numbers of its layers and of its key and value heads, and the size of a head.
        positions: as given.
        adds_masks: whether attention adds a mask to its scores; otherwise a mask is boolean.
        keeps: what spares the logits that nobody looks at; None: the model makes all.
    """

    def __init__(self, model: torch.nn.Module, positions: int) -> None:
        super().__init__()
        self.model, self.positions = model, positions
        self.form = _form(model)
        self.adds_masks = _config(model)._attn_implementation == "eager"
        _attention.in_parts(model)
        self.keeps = _kept(model)

    def forward(
        self, input_ids: torch.Tensor, past_tokens: torch.Tensor, *others: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Turn tokens and a cache into logits, and what is new for the cache; see `decoding`."""
        past = others[1:] if self.keeps else others
        new, room = input_ids.shape[1], past[0].shape[2]
        places = torch.arange(new, device=input_ids.device)
        known = torch.arange(room, device=input_ids.device) < past_tokens[:, None]
        before = places[None, :] <= places[:, None]
        seen = torch.cat(
            [
                known[:, None, None, :].expand(-1, 1, new, -1),
                before[None, None].expand(input_ids.shape[0], 1, -1, -1),
            ],
            dim=3,
        )
        mask = _added(seen, past[0].dtype) if self.adds_masks else seen
        # Padding may stand behind the last position; nobody looks at it.
        positions = (past_tokens[:, None] + places).clamp(max=self.positions - 1)
        cache = _past.over(past, "present")
        with self.keeps.at(others[0]) if self.keeps else nullcontext():
            found = self.model(
                input_ids=input_ids,
                attention_mask=mask,  # of four dimensions, and so taken as it is
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            )
        return {"logits": found.logits.float(), **cache.new}


class _KeptPlaces:
    """Before a model's last layer: what stands at the places that are asked for, alone."""

    def __init__(self) -> None:
        self._places: torch.Tensor | None = None

    @contextmanager
    def at(self, places: torch.Tensor | None) -> Iterator[None]:
        """For the block, keep what stands at places (N, K)."""
        self._places = places
        try:
            yield
        finally:
            self._places = None

    def __call__(self, _: object, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        states, *others = given
        if self._places is None:
            return given
        places = self._places[:, :, None].expand(-1, -1, states.shape[2])
        return states.gather(1, places), *others


def _kept(model: Any) -> _KeptPlaces | None:
    """Let a model's last layer see only what is asked for; None where its logits come otherwise."""
    last = model.get_output_embeddings()
    if last is None:
        return None
    kept, ids = _KeptPlaces(), torch.zeros(1, 3, dtype=torch.int64)
    hook = last.register_forward_pre_hook(kept)
    try:
        with torch.no_grad(), kept.at(torch.tensor([[1]])):
            logits = model(input_ids=ids, use_cache=False).logits
    except Exception:  # a model may raise anything, and then makes all
        logits = None
    if logits is not None and logits.shape[:2] == (1, 1):
        return kept
    hook.remove()
    return None


def _added(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The mask to add to scores: 0 where they count, and the smallest number elsewhere."""
    return torch.where(seen, 0.0, torch.finfo(dtype).min).to(dtype)


def _form(model: torch.nn.Module) -> tuple[int, int, int]:
    """The layers, the key and value heads, and their size, as one forward pass shows them.

    Raises:
        UnsupportedError: the model's cache isn't keys and values of one shape.
    """
    cache = None
    with torch.no_grad():
        cache = model(input_ids=torch.zeros(1, 2, dtype=torch.int64), use_cache=True).get(
            "past_key_values"
        )
    layers = list(getattr(cache, "layers", None) or [])
    shapes = {tuple(x.shape) for each in layers for x in (_keys(each), _values(each))}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 4:
        raise UnsupportedError(
            "this model's layers don't all have a cache of keys and values of one form",
            "use a model shaped like GPT-2, Llama, Mistral, Qwen2 or Gemma-2",
        )
    return len(layers), shape[1], shape[3]


def _keys(layer: object) -> torch.Tensor:
    keys: torch.Tensor = getattr(layer, "keys", None)  # type: ignore[assignment]
    return keys if keys is not None else torch.zeros(0)


def _values(layer: object) -> torch.Tensor:
    values: torch.Tensor = getattr(layer, "values", None)  # type: ignore[assignment]
    return values if values is not None else torch.zeros(0)


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model in CausalLM, of at most LONGEST tokens and what every layer looks back at.

    Raises:
        UnsupportedError: it would write otherwise token by token than the model reads whole texts.
    """
    module = CausalLM(model, min([*_limits(_config(model)), LONGEST]))
    _decoding.see_that_it_decodes(
        module, model, module.form, module.positions, keeps=module.keeps is not None
    )
    return module


def _config(model: Any) -> Any:
    """The settings of a model's part for text; other parts may see or hear."""
    return model.config.get_text_config(decoder=True)


def _limits(config: object) -> list[int]:
    """All limits that the settings put on the number of tokens in a text."""
    names = (*_windows(config), "max_position_embeddings", "n_positions", "max_target_positions")
    limits = [getattr(config, name, None) for name in (*names, "keep_window_size")]
    rope = getattr(config, "rope_parameters", None) or {}
    # One for the model, or one for each kind of layer. Beyond this limit all keys are rotated
    # differently, also those in the cache.
    ropes = [each for each in (rope, *rope.values()) if isinstance(each, dict)]
    long = [each for each in ropes if each.get("rope_type") == "longrope"]
    limits += [each.get("original_max_position_embeddings") for each in long]
    return [limit for limit in limits if isinstance(limit, int)]


def _windows(config: object) -> list[str]:
    """The names of the settings that say how far some layer looks back."""
    windows = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return [name for kind, name in windows.items() if kind in kinds]
    slides = getattr(config, "use_sliding_window", True)
    return [name for name in windows.values() if slides or name != "sliding_window"]


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched | None:
    """What transformers writes behind some of the texts, and talks, of the likeliest tokens.

    `wrap` has compared the logits.
    """
    model, tokenizer = _untouched.read(folder, AUTO)
    room = _untouched.most(handler)
    plain = {"repetition_penalty": 1.0, **_defaults(model.generation_config.to_diff_dict())}
    plain |= {"temperature": 0.0, "stop": (), "score": False}
    answers: list[object] = [None] * len(instances)
    options: list[Mapping[str, object]] = [{}] * len(instances)
    for index, instance in enumerate(instances[: _generate.TEXTS]):
        tokens = _tokens(tokenizer, instance)
        if room is not None and tokens["input_ids"].shape[1] + _generate.TOKENS > room:
            continue
        written = _generate.greedily(model, tokens, _generate.TOKENS)
        answers[index] = written.answer(tokenizer) if written.most else None
        options[index] = {**plain, "max_new_tokens": written.most}
    return Untouched(answers, [None] * len(answers), options)


def _tokens(tokenizer: Any, instance: object) -> Mapping[str, torch.Tensor]:
    if not isinstance(instance, Mapping):
        found: Mapping[str, torch.Tensor] = tokenizer(text.read(instance), return_tensors="pt")
        return found
    talk: Mapping[str, torch.Tensor] = tokenizer.apply_chat_template(
        instance["messages"], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    return talk


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer and a chat template; say the form, and what ends and chooses tokens.

    Raises:
        UnsupportedError: generation_config.json has a setting that isn't known here.
    """
    assert isinstance(module, CausalLM)  # noqa: S101 - `wrap` returns no other
    _written.refuse(module.model.generation_config, UNKNOWN)
    brought = _tokenizer.bring(module, folder, out)
    layers, heads, size = module.form
    positions = module.positions
    said = folder / "generation_config.json"
    generation = read_object(said) if said.is_file() else {}
    config = read_object(folder / "config.json")
    found = {
        **brought,
        **_chat.bring(folder, out),
        "max_tokens": min(positions, brought.get("max_tokens", positions)),
        "layers": layers,
        "key_value_heads": heads,
        "head_size": size,
        **({"keeps_logits": True} if module.keeps else {}),
        "stop_tokens": _ends(generation, config, out / "tokenizer.json"),
    }
    defaults = _defaults(generation)
    return {**found, "defaults": defaults} if defaults else found


def _ends(
    generation: Mapping[str, object], config: Mapping[str, object], tokenizer: Path
) -> list[str]:
    from tokenizers import Tokenizer

    ids = generation.get("eos_token_id", config.get("eos_token_id"))
    known = Tokenizer.from_file(str(tokenizer))
    numbers = ids if isinstance(ids, list) else [ids] if isinstance(ids, int) else []
    names = [known.id_to_token(number) for number in numbers]
    return [name for name in names if name is not None]


def _defaults(generation: Mapping[str, object]) -> dict[str, object]:
    """The options that transformers' `generate` would take from the folder."""
    found: dict[str, object] = {}
    for name in SAMPLING:
        value = generation.get(name)
        if value is not None and (name == "repetition_penalty" or generation.get("do_sample")):
            found[name] = value
    if generation.get("do_sample"):
        found.setdefault("temperature", 1.0)
        found.setdefault("top_k", 50)
    if isinstance(generation.get("max_new_tokens"), int):
        found["max_new_tokens"] = generation["max_new_tokens"]
    return found
