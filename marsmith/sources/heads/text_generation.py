"""A causal language model, whose cache comes and goes as tensors."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from marsmith.errors import UnsupportedError
from marsmith.sources.heads import _decoding, _tokenizer, read_json

AUTO = "AutoModelForCausalLM"

LONGEST = 2048  # tokens; many models say 100,000 and more, whose cache would take gigabytes
SAMPLING = ("temperature", "top_k", "top_p", "repetition_penalty")


class CausalLM(torch.nn.Module):
    """A model of transformers as `handlers.generation.decoding` calls it.

    Args:
        model: for causal language modelling, with a cache of keys and values for each layer.
        positions: how many tokens it takes at most.

    Attributes:
        form: its layers, heads of keys and values, and their size.
        positions: as given.
    """

    def __init__(self, model: torch.nn.Module, positions: int) -> None:
        super().__init__()
        self.model, self.positions = model, positions
        self.form = _form(model)
        # Eager attention adds a mask to the scores, where sdpa takes a boolean one, too.
        self.adds_masks = _config(model)._attn_implementation == "eager"

    def forward(
        self, input_ids: torch.Tensor, past_tokens: torch.Tensor, *past: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Tokens and a cache to logits, and what is new for the cache; see `decoding`."""
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
        # What pads may stand behind the last position; nobody looks at it.
        positions = (past_tokens[:, None] + places).clamp(max=self.positions - 1)
        cache = _past(past)
        found = self.model(
            input_ids=input_ids,
            attention_mask=mask,  # of four dimensions, and so taken as it is
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        return {"logits": found.logits.float(), **cache.new}


def _added(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is to be added to scores: 0 where they count, else the least of numbers."""
    return torch.where(seen, 0.0, torch.finfo(dtype).min).to(dtype)


def _past(past: tuple[torch.Tensor, ...]) -> Any:
    """A cache of transformers over given keys and values, which keeps what is new apart."""
    transformers: Any = importlib.import_module("transformers")

    class Past(transformers.DynamicCache):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.new: dict[str, torch.Tensor] = {}

        def update(
            self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: Any, **__: Any
        ) -> tuple[torch.Tensor, torch.Tensor]:
            self.new[f"present.{layer}.key"] = keys
            self.new[f"present.{layer}.value"] = values
            pairs = zip(past[2 * layer : 2 * layer + 2], (keys, values), strict=True)
            key, value = (torch.cat(pair, dim=2) for pair in pairs)
            return key, value

        def get_seq_length(self, *_: Any, **__: Any) -> int:
            return past[0].shape[2]

    return Past()


def _form(model: torch.nn.Module) -> tuple[int, int, int]:
    """Layers, heads of keys and values, and their size, as one pass shows them.

    Raises:
        UnsupportedError: the model keeps something else than keys and values of one form.
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
            "GPT-2-, Llama-, Mistral- and Qwen2-shaped models have",
        )
    return len(layers), shape[1], shape[3]


def _keys(layer: Any) -> torch.Tensor:
    keys: torch.Tensor = getattr(layer, "keys", None)  # type: ignore[assignment]
    return keys if keys is not None else torch.zeros(0)


def _values(layer: Any) -> torch.Tensor:
    values: torch.Tensor = getattr(layer, "values", None)  # type: ignore[assignment]
    return values if values is not None else torch.zeros(0)


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """CausalLM, of at most LONGEST tokens, and no more than a layer looks back at."""
    module = CausalLM(model, min([*_limits(_config(model)), LONGEST]))
    _decoding.see_that_it_decodes(module, model, module.form, module.positions)
    return module


def _config(model: Any) -> Any:
    """What a model's part for text is configured with; another part may see or hear."""
    return model.config.get_text_config(decoder=True)


def _limits(config: Any) -> list[int]:
    """How many tokens a text may have, in each respect that the settings tell."""
    names = (*_windows(config), "max_position_embeddings", "n_positions", "max_target_positions")
    limits = [getattr(config, name, None) for name in (*names, "keep_window_size")]
    rope = getattr(config, "rope_parameters", None) or {}
    # Of the model, or of each kind of layer. Behind it all keys turn, also those in the cache.
    ropes = [each for each in (rope, *rope.values()) if isinstance(each, dict)]
    long = [each for each in ropes if each.get("rope_type") == "longrope"]
    limits += [each.get("original_max_position_embeddings") for each in long]
    return [limit for limit in limits if isinstance(limit, int)]


def _windows(config: Any) -> list[str]:
    """The settings that say how far some layer looks back."""
    windows = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return [name for kind, name in windows.items() if kind in kinds]
    slides = getattr(config, "use_sliding_window", True)
    return [name for name in windows.values() if slides or name != "sliding_window"]


def bring(module: torch.nn.Module, folder: Path, out: Path) -> dict[str, Any]:
    """The tokenizer, the model's form, what ends a text, and how tokens are chosen by default."""
    brought = _tokenizer.bring(module, folder, out)
    layers, heads, size = module.form  # type: ignore[misc]
    positions: int = module.positions  # type: ignore[assignment]
    said = folder / "generation_config.json"
    generation = read_json(said) if said.is_file() else {}
    found = {
        **brought,
        "max_tokens": min(positions, brought.get("max_tokens", positions)),
        "layers": layers,
        "key_value_heads": heads,
        "head_size": size,
        "stop_tokens": _ends(generation, read_json(folder / "config.json"), out / "tokenizer.json"),
    }
    defaults = _defaults(generation)
    return {**found, "defaults": defaults} if defaults else found


def _ends(generation: Any, config: Any, tokenizer: Path) -> list[str]:
    from tokenizers import Tokenizer

    ids = generation.get("eos_token_id", config.get("eos_token_id"))
    known = Tokenizer.from_file(str(tokenizer))
    numbers = ids if isinstance(ids, list) else [ids] if isinstance(ids, int) else []
    names = [known.id_to_token(number) for number in numbers]
    return [name for name in names if name is not None]


def _defaults(generation: Any) -> dict[str, Any]:
    """What `generate` would do by itself, where the folder says so."""
    found: dict[str, Any] = {}
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
