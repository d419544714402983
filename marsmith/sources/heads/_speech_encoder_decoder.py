"""Whisper of transformers, as an encoder–decoder that takes and returns its caches as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from marsmith.sources.heads._encoder_decoder import (
    Crossing,
    EncoderDecoder,
    decoder_of,
    encoder_of,
)


class SpeechEncoderDecoder(EncoderDecoder):
    """Whisper as `handlers.generation.sourced` calls it: its source are frames.

    Args:
        model: `WhisperForConditionalGeneration`.
        positions: how many tokens the decoder takes at most.
    """

    SOURCE = "input_features"

    def __init__(self, model: nn.Module, positions: int) -> None:
        super().__init__(model, positions)
        for layer in decoder_of(model).layers:
            layer.encoder_attn = Crossing(layer.encoder_attn)
            self.crossings.append(layer.encoder_attn)

    @staticmethod
    def samples(model: Any) -> list[torch.Tensor]:
        """Two windows of frames of chance, always the same: (bands, F) float32."""
        chance = torch.Generator().manual_seed(0)
        shape = (model.config.num_mel_bins, stride(model) * model.config.max_source_positions)
        return [torch.randn(shape, generator=chance) for _ in range(2)]

    @staticmethod
    def together(sources: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows as a batch, and how many frames the encoder makes of each: of two, one."""
        return torch.stack([*sources]), torch.tensor([-(-each.shape[1] // 2) for each in sources])

    @staticmethod
    def nothing(sources: torch.Tensor) -> torch.Tensor:
        """Two frames."""
        return torch.zeros_like(sources[:, :, :2])

    def forward(
        self,
        source_features: torch.Tensor,
        source_tokens: torch.Tensor,
        cached_source: torch.Tensor,
        input_ids: torch.Tensor,
        past_tokens: torch.Tensor,
        *past: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Turn frames, tokens and caches into logits, and what is new in the caches."""
        states = self._read(source_features)
        of_source = torch.arange(states.shape[1], device=states.device) < source_tokens[:, None]
        return self.write(states, of_source, cached_source, input_ids, past_tokens, past)

    def _read(self, features: torch.Tensor) -> torch.Tensor:
        """What the encoder makes of frames; transformers' own takes whole windows alone."""
        encoder = encoder_of(self.model)
        x = nn.functional.gelu(encoder.conv1(features))
        x = nn.functional.gelu(encoder.conv2(x)).permute(0, 2, 1)
        x = x + encoder.embed_positions.weight[: x.shape[1]]
        for layer in encoder.layers:
            x = layer(x, None)
        found: torch.Tensor = encoder.layer_norm(x)
        return found


def stride(model: Any) -> int:
    """How many frames the encoder makes one of."""
    encoder = encoder_of(model)
    return int(encoder.conv1.stride[0] * encoder.conv2.stride[0])
