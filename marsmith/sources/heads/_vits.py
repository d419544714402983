"""VITS as one graph without chance: what it draws is given, and so is how long it may speak.

transformers' own forward draws numbers in its midst, makes a waveform as long as the longest text
of a batch is spoken, and lets what is behind a shorter one sound at its end. Here shapes are those
of the inputs alone, and a text is spoken in a batch as it is alone.

See: J. Kim et al., Conditional Variational Autoencoder with Adversarial Learning for End-to-End
Text-to-Speech, 2021, https://arxiv.org/abs/2106.06103; for its splines C. Durkan et al., Neural
Spline Flows, 2019, https://arxiv.org/abs/1906.04032.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch.nn.functional import leaky_relu, pad, softmax, softplus
from torch.nn.utils import parametrize

LEAST = 1e-3  # of a bin's share, and of a spline's slope
LONGEST = 8192  # frames of a token; float32 can count those of 2000 such
POST_SLOPE = 0.01  # of the last leaky ReLU of a HiFi-GAN, which no setting says


class Vits(torch.nn.Module):
    """A `VitsModel` of transformers; `speech_synthesis` says what it takes and answers.

    Args:
        model: of transformers; it is copied, without what only training needs.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        copied: Any = copy.deepcopy(model)
        del copied.posterior_encoder
        for name, part in list(copied.named_modules()):
            if parametrize.is_parametrized(part, "weight"):
                copied.set_submodule(name, _plain(part))
        self.model = copied
        self.hop = math.prod(copied.config.upsample_rates)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        speaking_rate: torch.Tensor,
        duration_noise: torch.Tensor,
        noise: torch.Tensor,
        speaker: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Speak texts.

        Args:
            input_ids: (N, T) int64.
            attention_mask: (N, T) int64; 0 for padding.
            speaking_rate: (N,) float32; 2 is twice as fast as 1.
            duration_noise: (N, 2, T) float32, by which durations vary.
            noise: (N, F, C) float32, by which the sound of F frames varies.
            speaker: (N,) int64, where there are several.

        Returns:
            waveform: (N, F * hop) float32, 0 behind the end of each.
            lengths: (N,) int64, how many samples each needs, which may be more.
        """
        model: Any = self.model
        who = None if speaker is None else model.embed_speaker(speaker).unsqueeze(-1)
        mask = attention_mask.unsqueeze(1).to(noise.dtype)
        hidden, means, scales = self._read(input_ids, mask)
        durations = self._durations(hidden, mask, duration_noise, who)
        # 32 bits: half of them can't count frames.
        frames = durations.float() * mask[:, 0].float() / speaking_rate.float()[:, None]
        ends = torch.ceil(frames).clamp(max=LONGEST).cumsum(1)
        count = ends[:, -1:].clamp(min=1)
        at = torch.arange(noise.shape[1], device=noise.device)
        token = (at[None, :, None] >= ends[:, None, :]).sum(2).clamp(max=input_ids.shape[1] - 1)
        spoken = (at < count).unsqueeze(1).to(noise.dtype)
        chosen = token.unsqueeze(2).expand(-1, -1, means.shape[2])
        latents = means.gather(1, chosen) + noise * torch.exp(scales.gather(1, chosen))
        latents = self._flow(latents.transpose(1, 2), spoken, who) * spoken
        return self._decode(latents, spoken, who), count[:, 0].long() * self.hop

    def _read(
        self, ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The states of tokens, (N, D, T), and the mean and log scale of each, (N, T, C)."""
        encoder: Any = self.model.text_encoder
        down = mask.transpose(1, 2)
        states = encoder.embed_tokens(ids) * math.sqrt(encoder.config.hidden_size) * down
        for layer in encoder.encoder.layers:
            states = layer.layer_norm(states + _attend(layer.attention, states, mask))
            states = layer.final_layer_norm(states + layer.feed_forward(states, down))
        states = (states * down).transpose(1, 2)
        means, scales = (encoder.project(states) * mask).transpose(1, 2).chunk(2, dim=2)
        return states, means, scales

    def _durations(
        self, states: torch.Tensor, mask: torch.Tensor, noise: torch.Tensor, who: Any
    ) -> torch.Tensor:
        """How many frames tokens last, (N, T), not yet whole."""
        predictor: Any = self.model.duration_predictor
        if not self.model.config.use_stochastic_duration_prediction:
            # A graph without one of its inputs would be another graph.
            found = predictor(states, mask, who) + 0 * noise[:, :1]
            return torch.exp(found)[:, 0]
        states = predictor.conv_pre(states)
        if who is not None:
            states = states + predictor.cond(who)
        states = predictor.conv_proj(predictor.conv_dds(states, mask)) * mask
        affine, _, *flows = predictor.flows  # the first that splits is of use in training alone
        for flow in reversed(flows):
            noise = _unbend(flow, noise.flip(1), mask, states)
        noise = (noise.flip(1) - affine.translate) * torch.exp(-affine.log_scale) * mask
        return torch.exp(noise)[:, 0]

    def _flow(self, latents: torch.Tensor, mask: torch.Tensor, who: Any) -> torch.Tensor:
        for flow in reversed(self.model.flow.flows):
            first, second = latents.flip(1).chunk(2, dim=1)
            mean = _wavenet(flow.wavenet, flow.conv_pre(first) * mask, mask, who)
            latents = torch.cat([first, (second - flow.conv_post(mean)) * mask], dim=1)
        return latents

    def _decode(self, latents: torch.Tensor, mask: torch.Tensor, who: Any) -> torch.Tensor:
        decoder: Any = self.model.decoder
        x = decoder.conv_pre(latents)
        if who is not None:
            x = x + decoder.cond(who)
        return hifigan(decoder, x, mask, self.model.config.upsample_rates)


def _plain(conv: Any) -> torch.nn.Conv1d:
    """A convolution with the weight that it computes of others; the one given is left as it is."""
    made = torch.nn.Conv1d(
        conv.in_channels, conv.out_channels, conv.kernel_size[0],
        padding=conv.padding[0], dilation=conv.dilation[0], bias=conv.bias is not None,
    )  # fmt: skip
    made.weight = torch.nn.Parameter(conv.weight.detach().clone())
    made.bias = conv.bias
    return made


def hifigan(decoder: Any, x: torch.Tensor, mask: torch.Tensor, rates: list[int]) -> torch.Tensor:
    """Make frames a waveform, each convolution with nothing behind the end.

    Args:
        decoder: a HiFi-GAN of transformers.
        x: (N, D, F), behind its first convolution.
        mask: (N, 1, F); 0 where nothing is spoken.
        rates: by how much each of its stages is finer.
    """
    x, slope = x * mask, decoder.config.leaky_relu_slope
    for stage, rate in enumerate(rates):
        x = decoder.upsampler[stage](leaky_relu(x, slope))
        mask = mask.unsqueeze(3).expand(-1, -1, -1, rate).flatten(2)
        x = x * mask
        blocks = decoder.resblocks[stage * decoder.num_kernels :][: decoder.num_kernels]
        x = torch.stack([_residual(block, x, mask) for block in blocks]).mean(0)
    waveform = decoder.conv_post(leaky_relu(x, POST_SLOPE))
    return torch.tanh(waveform * mask).squeeze(1)


def _residual(block: Any, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    slope = block.leaky_relu_slope
    for first, second in zip(block.convs1, block.convs2, strict=True):
        inner = leaky_relu(first(leaky_relu(x, slope)) * mask, slope)
        x = x + second(inner) * mask
    return x


def _attend(attention: Any, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Attention whose keys and values depend on how far they are, up to a window."""
    count, length = states.shape[0], states.shape[1]

    def split(x: torch.Tensor) -> torch.Tensor:
        parts = x.view(count, length, attention.num_heads, attention.head_dim)
        return parts.transpose(1, 2)

    query = split(attention.q_proj(states) * attention.scaling)
    key, value = split(attention.k_proj(states)), split(attention.v_proj(states))
    scores = query @ key.transpose(2, 3)
    window = attention.window_size
    places = torch.arange(length, device=states.device)
    away = places - places[:, None] + window  # (T, T), of a key from a query
    near = ((away >= 0) & (away <= 2 * window)).to(states.dtype)
    table = query @ attention.emb_rel_k.transpose(1, 2)
    scores = scores + table.gather(3, away.clamp(0, 2 * window).expand(*scores.shape)) * near
    scores = scores.masked_fill(mask.unsqueeze(1) == 0, torch.finfo(states.dtype).min)
    weights = softmax(scores, dim=-1)
    steps = torch.arange(2 * window + 1, device=states.device) - window
    keys = places[:, None] + steps  # (T, W), the key that is so far away
    there = ((keys >= 0) & (keys < length)).to(states.dtype)
    chosen = keys.clamp(min=0).minimum(places[-1:]).expand(*weights.shape[:3], 2 * window + 1)
    found = weights @ value + (weights.gather(3, chosen) * there) @ attention.emb_rel_v
    joined = found.transpose(1, 2).reshape(count, length, attention.embed_dim)
    projected: torch.Tensor = attention.out_proj(joined)
    return projected


def _wavenet(wavenet: Any, x: torch.Tensor, mask: torch.Tensor, who: Any) -> torch.Tensor:
    size, total = wavenet.hidden_size, torch.zeros_like(x)
    given = None if who is None else wavenet.cond_layer(who)
    for place, layer in enumerate(wavenet.in_layers):
        inner = layer(x)
        if given is not None:
            inner = inner + given[:, 2 * place * size : 2 * (place + 1) * size]
        gated = torch.tanh(inner[:, :size]) * torch.sigmoid(inner[:, size:])
        made = wavenet.res_skip_layers[place](gated)
        if place < wavenet.num_layers - 1:
            x = (x + made[:, :size]) * mask
            made = made[:, size:]
        total = total + made
    return total * mask


def _unbend(flow: Any, x: torch.Tensor, mask: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Undo a flow whose second half is bent by splines that the first half decides."""
    first, second = x.chunk(2, dim=1)
    bends = flow.conv_proj(flow.conv_dds(flow.conv_pre(first), mask, given)) * mask
    bends = bends.unflatten(1, (second.shape[1], -1)).transpose(2, 3)
    bins, root = flow.num_bins, math.sqrt(flow.filter_channels)
    widths, heights, slopes = bends.split([bins, bins, bins - 1], dim=3)
    found = _inverse_spline(second, widths / root, heights / root, slopes, flow.tail_bound)
    return torch.cat([first, found], dim=1) * mask


def _inverse_spline(
    y: torch.Tensor,
    widths: torch.Tensor,
    heights: torch.Tensor,
    slopes: torch.Tensor,
    bound: float,
) -> torch.Tensor:
    """Where a rising spline of rational quadratic pieces has the value y; y itself beyond bounds.

    Args:
        y: (N, C, T).
        widths: (N, C, T, bins), logits of the pieces' shares of the way from -bound to bound.
        heights: the same, of how much the spline rises in each.
        slopes: (N, C, T, bins - 1), of the spline between them, before a softplus; 1 at its ends.
        bound: what is beyond is not bent.
    """
    x_knots, y_knots = _knots(widths, bound), _knots(heights, bound)
    slopes = pad(LEAST + softplus(slopes), (1, 1), value=1.0)
    within = y.clamp(-bound, bound)
    piece = (within.unsqueeze(3) >= y_knots[..., 1:-1]).sum(3, keepdim=True)

    def of(values: torch.Tensor) -> torch.Tensor:
        return values.gather(3, piece).squeeze(3)

    left, bottom = of(x_knots[..., :-1]), of(y_knots[..., :-1])
    width, height = of(x_knots[..., 1:]) - left, of(y_knots[..., 1:]) - bottom
    begin, end, mean = of(slopes[..., :-1]), of(slopes[..., 1:]), height / width
    risen = within - bottom
    bent = risen * (begin + end - 2 * mean)
    a = height * (mean - begin) + bent
    b = height * begin - bent
    c = -mean * risen
    share = 2 * c / (-b - torch.sqrt((b * b - 4 * a * c).clamp(min=0)))
    return torch.where((y >= -bound) & (y <= bound), left + share * width, y)


def _knots(logits: torch.Tensor, bound: float) -> torch.Tensor:
    """The ends of pieces, (..., bins + 1), from -bound to bound; no piece is too small."""
    bins = logits.shape[3]
    shares = LEAST + (1 - LEAST * bins) * softmax(logits, dim=3)
    inner = 2 * bound * shares.cumsum(3)[..., :-1] - bound
    return pad(pad(inner, (1, 0), value=-bound), (0, 1), value=bound)
