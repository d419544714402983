"""Settings of transformers' models, made tiny, whatever the type calls its sizes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

LAYERS = 2
SIZES: dict[str, int] = {
    **dict.fromkeys(["hidden_size", "d_model", "n_embd", "dim", "embedding_size", "width"], 32),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers"], LAYERS),
    **dict.fromkeys(["decoder_layers", "encoder_layers"], LAYERS),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "attention_heads"], 4),
    **dict.fromkeys(["decoder_attention_heads", "encoder_attention_heads"], 4),
    **dict.fromkeys(["num_key_value_heads", "num_kv_heads", "multi_query_group_num"], 2),
    **dict.fromkeys(["head_dim", "kv_channels", "v_head_dim", "global_head_dim"], 8),
    **dict.fromkeys(["intermediate_size", "n_inner", "ffn_dim", "dff", "ffn_hidden_size"], 48),
    **dict.fromkeys(["decoder_ffn_dim", "encoder_ffn_dim", "shared_intermediate_size"], 48),
    **dict.fromkeys(["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"], 128),
    **dict.fromkeys(["seq_length", "max_sequence_length", "max_target_positions"], 128),
    **dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts"], 4),
    **dict.fromkeys(["num_experts_per_tok", "moe_topk", "top_k_experts"], 2),
    **dict.fromkeys(["moe_intermediate_size", "shared_expert_intermediate_size"], 16),
    **dict.fromkeys(["kv_lora_rank", "q_lora_rank", "rotary_dim"], 8),
    **dict.fromkeys(["qk_rope_head_dim", "qk_nope_head_dim"], 8),
    **dict.fromkeys(["query_pre_attn_scalar"], 8),
    **dict.fromkeys(["n_group", "topk_group", "n_shared_experts"], 1),
    "sliding_window": 112,
    "vocab_size_per_layer_input": 99, "hidden_size_per_layer_input": 8,
}  # fmt: skip
# What says something of each layer: the first ones stay.
EACH_LAYER = ("layer_types", "layers_block_type", "mlp_layer_types", "no_rope_layers",
              "attention_layers", "block_types")  # fmt: skip


def shrink(config: Any, **settings: Any) -> Any:
    """Make a model's settings, and those of its parts, tiny.

    Args:
        config: of transformers; it is changed.
        settings: further ones, where the type has them; None for one that stays as it is.
    """
    for name, value in {**SIZES, **settings}.items():
        with suppress(Exception):  # some say it of each layer, or make it of others
            if value is not None and isinstance(getattr(config, name, None), int):
                setattr(config, name, value)
    for name in EACH_LAYER:
        said = getattr(config, name, None)
        if isinstance(said, (list, tuple)) and len(said) > LAYERS:
            # Of a mixture, one of each kind.
            kinds = list(dict.fromkeys(said))
            setattr(config, name, (kinds if len(kinds) == LAYERS else list(said))[:LAYERS])
    if hasattr(config, "attention_types"):
        config.attention_types = [[["global", "local"], 1]]
        config.attention_layers = ["global", "local"]
    for part in dict(vars(config)).values():
        if hasattr(part, "to_diff_dict") and hasattr(part, "model_type"):
            shrink(part, **settings)
    return config
