"""Spectra of sound: how loud it is in each band of frequencies, from moment to moment."""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Kind = Literal["none", "kaldi", "whisper"]

HOP = 160  # samples from one spectrum to the next
SPAN = 400  # samples of a spectrum
FFT = 512  # Kaldi's; a spectrum of Whisper's is as long as its span
PRE_EMPHASIS = 0.97
LOWEST = 20  # hertz, Kaldi's; Whisper begins at 0, and ends at HIGHEST
HIGHEST = 8000
FLOOR = 1.192092955078125e-07  # power, Kaldi's: the epsilon of float32
SILENCE, RANGE = 1e-10, 8.0  # Whisper's: power, and powers of ten below the loudest
# Slaney's scale is linear up to 1000 Hz, which are 15 mel, and logarithmic above.
LINEAR, BREAK, STEP = 3 / 200, 1000.0, 27 / math.log(6.4)


def kaldi(waveform: torch.Tensor, rate: int, bands: int) -> torch.Tensor:
    """Kaldi's logarithmic filter banks of samples in [-1, 1], as AST takes them.

    Computed in float64: the quietest bands are some 1e-7 of the loudest.

    Args:
        waveform: (S,) float32.
        rate: samples per second.
        bands: filters, evenly over the mel scale from LOWEST to half the rate.

    Returns:
        (T, bands) float32, T = (S - SPAN) // HOP + 1; nothing of what is shorter than SPAN.

    See: https://kaldi-asr.org/doc/feat.html
    """
    if len(waveform) < SPAN:
        return torch.zeros(0, bands)
    frames = waveform.double().unfold(0, SPAN, HOP)
    frames = frames - frames.mean(dim=1, keepdim=True)
    before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
    window = torch.hann_window(SPAN, periodic=False, dtype=torch.float64)
    power = torch.fft.rfft((frames - PRE_EMPHASIS * before) * window, n=FFT).abs() ** 2
    banks: torch.Tensor = (power @ _kaldi_filters(rate, bands)).clamp(min=FLOOR).log().float()
    return banks


def whisper(waveform: torch.Tensor, rate: int, bands: int) -> torch.Tensor:
    """Whisper's logarithmic spectra of samples in [-1, 1].

    Args:
        waveform: (S,) float32, more than SPAN // 2 samples.
        rate: samples per second.
        bands: filters, evenly over Slaney's mel scale from 0 to HIGHEST.

    Returns:
        (T, bands) float32, T = S // HOP.

    See: A. Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022.
    """
    spectra = torch.stft(waveform, SPAN, HOP, window=torch.hann_window(SPAN), return_complex=True)
    power = (spectra[:, :-1].abs() ** 2).T
    loud = (power @ _whisper_filters(rate, bands)).clamp(min=SILENCE).log10()
    return (torch.maximum(loud, loud.max() - RANGE) + 4) / 4


@functools.lru_cache(maxsize=8)
def _kaldi_filters(rate: int, bands: int) -> torch.Tensor:
    """(FFT // 2 + 1, bands) float64: triangles on the mel scale."""
    low, high = (_kaldi_mel(np.float64(hertz)) for hertz in (LOWEST, rate // 2))
    edges = np.linspace(low, high, bands + 2)
    return torch.from_numpy(_triangles(_kaldi_mel(np.arange(FFT // 2 + 1) * rate / FFT), edges))


@functools.lru_cache(maxsize=8)
def _whisper_filters(rate: int, bands: int) -> torch.Tensor:
    """(SPAN // 2 + 1, bands) float32: triangles in hertz, of one area."""
    top = BREAK * LINEAR + math.log(HIGHEST / BREAK) * STEP
    mels = np.linspace(0, top, bands + 2)
    above = np.maximum(mels - BREAK * LINEAR, 0)
    edges = np.where(above > 0, BREAK * np.exp(above / STEP), mels / LINEAR)
    hertz = np.linspace(0, rate // 2, SPAN // 2 + 1)
    filters = _triangles(hertz, edges) * (2 / (edges[2:] - edges[:-2]))
    return torch.from_numpy(filters.astype(np.float32))


def _kaldi_mel(hertz: Floats) -> Floats:
    return 1127 * np.log1p(hertz / 700)


def _triangles(places: Floats, edges: Floats) -> Floats:
    """(places, edges - 2): each begins at an edge, is 1 at the next, and ends at the one behind."""
    widths = np.diff(edges)
    rising = (places[:, None] - edges[None, :-2]) / widths[:-1]
    falling = (edges[None, 2:] - places[:, None]) / widths[1:]
    found: Floats = np.maximum(0, np.minimum(rising, falling))
    return found
