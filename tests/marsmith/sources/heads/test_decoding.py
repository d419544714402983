"""A causal language model beside itself: what its cache, its masks and its neighbours change."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from marsmith.errors import UnsupportedError
from marsmith.sources.heads._decoding import see_that_it_decodes
from marsmith.sources.heads.text_generation import CausalLM


@pytest.fixture
def gemma() -> Any:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=99,
        initializer_range=0.2,
        attn_implementation="eager",  # type: ignore[call-arg]
    )
    return Gemma2ForCausalLM(config).eval()


@pytest.mark.parametrize("positions", [1, 3, 65, 100])
def test_texts_are_no_longer_than_the_model_allows(gemma: Any, positions: int) -> None:
    module = CausalLM(gemma, positions)  # later tokens would all stay at the last position
    see_that_it_decodes(module, gemma, module.form, positions, keeps=True)


def test_a_mask_that_masks_nothing_is_noticed(gemma: Any) -> None:
    module = CausalLM(gemma, 100)
    assert module.adds_masks
    module.adds_masks = False
    with pytest.raises(UnsupportedError, match="row 0, token 0: logits differ by"):
        see_that_it_decodes(module, gemma, module.form, 100, keeps=True)


def test_positions_that_stay_behind_are_noticed_where_they_do(gemma: Any) -> None:
    module = CausalLM(gemma, 100)
    module.positions = 80  # those of later tokens stay at the 80th
    with pytest.raises(UnsupportedError, match="row 1, token 80: logits differ by"):
        see_that_it_decodes(module, gemma, module.form, 100, keeps=True)


def test_what_a_model_raises_is_said_and_not_logged(
    gemma: Any, caplog: pytest.LogCaptureFixture
) -> None:
    module = CausalLM(gemma, 100)
    form = (module.form[0], module.form[1], 9)
    said = r"token: its own code fails .*: RuntimeError: Sizes .* \(modeling_gemma2.py, line"
    with pytest.raises(UnsupportedError, match=said):
        see_that_it_decodes(module, gemma, form, 100, keeps=True)
    assert not caplog.records
