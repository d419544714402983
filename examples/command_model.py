"""A small recogniser of words: its own spectra, and convolutions over them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

RATE = 16_000
HOP = 160  # samples from one spectrum to the next; four of them make a frame
SPAN = 320  # samples of a spectrum
BANDS = 40
LOWEST, HIGHEST = 60, 7600  # hertz
SILENCE = 1e-4  # power in a band; what is added to it


class Recogniser(nn.Module):
    """Samples at RATE to the scores of tokens, 25 times a second: (N, S) to (N, T, tokens) logits.

    Spectra in BANDS, less their mean over the recording, and convolutions over them. What lies
    behind a recording's length changes none of these.

    Args:
        tokens: how many there are.
        width: channels of the convolutions.
        layers: how many of them follow the first.
    """

    def __init__(self, tokens: int, width: int = 128, layers: int = 5) -> None:
        super().__init__()
        self.hop, self.silence = HOP, SILENCE  # a script knows no globals
        self.turn = _fixed(_waves(), HOP, SPAN // 2)
        self.gather = _fixed(_bands(), 1, 0)
        self.first = nn.Conv1d(BANDS, width, 7, 4, padding=3, bias=False)
        self.first_norm = nn.BatchNorm1d(width)
        self.layers = nn.ModuleList(_layer(width) for _ in range(layers))
        self.last = nn.Conv1d(width, tokens, 1)

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Recordings, (N, S) float32, of which the first `lengths`, (N,) int64, samples count."""
        spectra, counts = self.spectra(waveform, lengths)
        return self.scores(spectra, counts)

    def spectra(
        self, waveform: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The logarithm of the power in each band, (N, BANDS, 4 T), and how many count, (N,)."""
        real, imaginary = self.turn(waveform.unsqueeze(1)).chunk(2, dim=1)
        power = self.gather(real * real + imaginary * imaginary)
        counts = torch.div(lengths + (self.hop - 1), self.hop, rounding_mode="floor")
        within = _within(power, counts)
        loud = torch.log(power + self.silence) * within
        mean = loud.sum(dim=2, keepdim=True) / counts.clamp(min=1).reshape(-1, 1, 1)
        return (loud - mean) * within * 0.4, counts

    def scores(self, spectra: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """What `spectra` gives, to logits."""
        x = torch.relu(self.first_norm(self.first(spectra)))
        within = _within(x, frames(counts))
        x = x * within
        for layer in self.layers:
            x = x + layer(x) * within
        logits: torch.Tensor = self.last(x)
        return logits.transpose(1, 2)


def frames(counts: torch.Tensor) -> torch.Tensor:
    """How many frames so many spectra make."""
    return torch.div(counts + 3, 4, rounding_mode="floor")


def _layer(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(width, width, 7, padding=3, groups=width, bias=False),
        nn.Conv1d(width, width, 1, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
    )


def _within(x: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """1 where a row of (N, C, T) has something, 0 where it is padded: (N, 1, T)."""
    places = torch.arange(x.shape[2], device=x.device)
    return (places < counts.unsqueeze(1)).unsqueeze(1).to(x.dtype)


def _fixed(weights: torch.Tensor, stride: int, padding: int) -> nn.Module:
    """A convolution that training leaves as it is; its weights are (outputs, inputs, span)."""
    outputs, inputs, span = weights.shape
    made = nn.Conv1d(inputs, outputs, span, stride, padding, bias=False).requires_grad_(False)
    made.weight.data.copy_(weights)
    return made


def _waves() -> torch.Tensor:
    """A Fourier transform as a convolution: cosines and sines within a Hann window."""
    places = torch.arange(SPAN, dtype=torch.float64)
    turns = 2 * math.pi / SPAN * torch.arange(SPAN // 2 + 1)[:, None] * places
    window = torch.hann_window(SPAN, dtype=torch.float64)
    return (torch.cat([turns.cos(), turns.sin()]) * window).float().unsqueeze(1)


def _bands() -> torch.Tensor:
    """Triangles, evenly over the mel scale, that sum the power of frequencies."""
    low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (LOWEST, HIGHEST))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    hertz = np.arange(SPAN // 2 + 1) * RATE / SPAN
    rising = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    return torch.from_numpy(np.minimum(rising, falling).clip(0)).float().unsqueeze(2)
