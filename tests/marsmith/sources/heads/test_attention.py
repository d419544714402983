"""Attention to a cache that isn't joined with what is new, beside attention to the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from marsmith.sources.heads import _attention, _past
from marsmith.sources.heads._encoder_decoder import EncoderDecoder
from marsmith.sources.heads.text_generation import CausalLM
from tests.support import encoder_decoders


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=99, initializer_range=0.2, **sizes, **heads))


def written(count: int, new: int, room: int, heads: int) -> tuple[torch.Tensor, ...]:
    """Tokens, how many are cached, and a cache: of one layer after the other, keys and values."""
    ids, past_tokens = torch.randint(6, 90, (count, new)), torch.randint(room + 1, (count,))
    return ids, past_tokens, *torch.randn(4, count, heads, room, 8)


def of_a_decoder() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    ids, past_tokens, *past = written(3, 2, 7, heads=2)
    return CausalLM(llama().eval(), 64), (ids, past_tokens, torch.tensor([[0, 1]] * 3), *past)


def of_an_encoder_decoder(made: Callable[[], Any]) -> tuple[torch.nn.Module, tuple[Any, ...]]:
    module = EncoderDecoder(made().eval(), 64)
    layers, heads, _ = module.form
    ids, past_tokens, *_ = written(3, 2, 7, heads)
    sources = torch.randint(6, 90, (3, 5)), torch.tensor([5, 2, 0]), torch.tensor([0, 0, 4])
    past = torch.randn(2 * layers, 3, heads, 7, 8)
    return module, (*sources, ids, past_tokens, *past, *torch.randn(2 * layers, 3, heads, 4, 8))


@pytest.mark.parametrize(
    "make",
    [
        of_a_decoder,
        lambda: of_an_encoder_decoder(encoder_decoders.bart),
        lambda: of_an_encoder_decoder(encoder_decoders.t5),  # adds a bias of positions to scores
    ],
    ids=["llama", "bart", "t5"],
)
def test_part_by_part_is_the_same_as_of_the_whole(
    make: Callable[[], tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module, given = make()
    calls: list[None] = []
    real, joined = _attention._in_parts, _past._joined

    def counted(*given: Any) -> torch.Tensor:
        calls.append(None)
        return real(*given)

    monkeypatch.setattr(_attention, "_in_parts", counted)
    with torch.inference_mode():
        found = module(*given)
        by_parts = len(calls)
        monkeypatch.setattr(_past, "_joined", lambda parts: joined(parts).clone())  # without parts
        wanted = module(*given)
    assert by_parts == len(calls) > 0
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_the_cache_is_not_copied_for_a_token() -> None:
    module, given = of_a_decoder()
    graph = torch.export.export(module, given, strict=False).graph
    cats = [node for node in graph.nodes if node.target == torch.ops.aten.cat.default]
    used = [tuple(node.meta["val"].shape) for node in cats if node.users]
    assert (3, 2, 4, 2 + 7) in used  # scores
    assert (3, 2, 2 + 7, 8) not in used  # keys, and values
