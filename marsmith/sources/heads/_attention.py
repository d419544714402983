"""Attention to what is cached and to what is new, without joining the two.

A decoder's cache comes in as tensors. Joined with what is new, all of it would be copied for every
token that is written.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch

NAME = "in_parts"


def in_parts(model: Any) -> None:
    """Let a model of transformers attend to a cache of `_past.over` part by part.

    Where its attention isn't torch's `scaled_dot_product_attention`, nothing is changed. It goes
    on as before on a GPU, and with whatever else a model does to its keys.
    """
    if model.config._attn_implementation != "sdpa":
        return
    transformers: Any = importlib.import_module("transformers")
    masks: Any = importlib.import_module("transformers.masking_utils")
    transformers.AttentionInterface.register(NAME, _attend)
    transformers.AttentionMaskInterface.register(NAME, masks.sdpa_mask)
    model.set_attn_implementation(NAME)


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    position_bias: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attend to keys and values (N, heads, P + T, D), as transformers calls it.

    Returns:
        (N, T, heads, D), and no weights.
    """
    keys, values = getattr(key, "parts", None), getattr(value, "parts", None)
    if keys is None or values is None or attention_mask is None or query.device.type != "cpu":
        whole: Any = importlib.import_module("transformers.integrations.sdpa_attention")
        found: tuple[torch.Tensor, None] = whole.sdpa_attention_forward(
            module, query, key, value, attention_mask,
            scaling=scaling, position_bias=position_bias, **others,
        )  # fmt: skip
        return found
    answer = _in_parts(query, keys, values, attention_mask, scaling, position_bias)
    return answer.transpose(1, 2).contiguous(), None


def _in_parts(
    query: torch.Tensor,
    keys: Sequence[torch.Tensor],
    values: Sequence[torch.Tensor],
    mask: torch.Tensor,
    scaling: float | None,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    count, heads, new, size = query.shape
    # Heads that share their keys are rows of one product.
    shared = (count, keys[0].shape[1], heads // keys[0].shape[1] * new)
    asked = (query * (size**-0.5 if scaling is None else scaling)).reshape(*shared, size)
    scores = torch.cat([asked @ each.transpose(2, 3) for each in keys], dim=3)
    scores = scores.view(count, heads, new, -1)
    if bias is not None:
        scores = scores + bias
    if mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    else:
        scores = scores + mask
    weights = torch.softmax(scores, dim=3, dtype=torch.float32).to(query.dtype)
    weights, cached = weights.view(*shared, -1), keys[0].shape[2]
    answer = weights[..., :cached] @ values[0] + weights[..., cached:] @ values[1]
    return answer.view(count, heads, new, size)
