"""Log-mel spectra, as Whisper takes them: how loud each band of frequencies is, from time to time.

See: A. Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022;
M. Slaney, Auditory Toolbox, 1998, for the scale of the bands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

HIGHEST = 8000.0  # Hz, where the last band ends
KNEE, KNEE_MEL = 1000.0, 15.0  # Slaney's scale is linear below, and logarithmic above
STEP = math.log(6.4) / 27
SOFTEST = 1e-10  # of a band's energy
RANGE = 8.0  # powers of ten: what is softer than the loudest by more counts as softer by that


@dataclass(frozen=True)
class LogMel:
    """How samples become frames.

    Attributes:
        sample_rate: samples per second.
        bands: how many there are.
        fft: the samples of a frame's Fourier transform.
        hop: the samples from one frame to the next.
    """

    sample_rate: int
    bands: int
    fft: int
    hop: int

    def __call__(self, samples: torch.Tensor) -> torch.Tensor:
        """Turn (S,) float32 samples, more than half of `fft`, into (bands, S // hop) float32."""
        window = torch.hann_window(self.fft)
        found = torch.stft(samples, self.fft, self.hop, window=window, return_complex=True)
        energy = filters(self) @ (found[:, :-1].abs() ** 2).contiguous()
        logs = energy.clamp(min=SOFTEST).log10()
        return (torch.maximum(logs, logs.max() - RANGE) + 4) / 4


def filters(form: LogMel) -> torch.Tensor:
    """What each frequency adds to each band, (bands, fft // 2 + 1) float32: triangles."""
    top = KNEE_MEL + math.log(HIGHEST / KNEE) / STEP
    mels = torch.linspace(0, top, form.bands + 2, dtype=torch.float64)
    above = KNEE * torch.exp(STEP * (mels - KNEE_MEL))
    edges = torch.where(mels >= KNEE_MEL, above, mels * KNEE / KNEE_MEL)
    bins = torch.linspace(0, form.sample_rate // 2, form.fft // 2 + 1, dtype=torch.float64)
    widths = edges.diff()
    slopes = edges[:, None] - bins
    rising, falling = -slopes[:-2] / widths[:-1, None], slopes[2:] / widths[1:, None]
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * (2 / (edges[2:] - edges[:-2]))[:, None]).float()
