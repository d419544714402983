"""Keys of a telephone in, the tones that they sound out: what examples/keypad.py hears.

The model learns the sound of a key from recordings of whole numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from examples.keypad import COLUMNS, KEYS, ROWS

Array = np.ndarray[Any, Any]

SEED = 0
RATE = 8_000
TONE, PAUSE = 800, 400  # samples: 0.1 s and 0.05 s
LOUDNESS = 0.4  # of each of the two tones of a key
MOST = 12  # keys of a number
WIDTH = 16
NOISE = 0.02  # of the recordings that are learnt from
EVALUATION, STEPS, BATCH = 200, 600, 16


class Dialler(nn.Module):
    """Keys -> a waveform, (N, S) float32, and how many samples of each count."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = nn.Embedding(len(KEYS) + 1, WIDTH)  # the first is padding
        self.sound = nn.Linear(WIDTH, TONE + PAUSE)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Dial keys, (N, T), of which those count whose mask, (N, T), is 1."""
        sound = self.sound(self.keys(input_ids)) * attention_mask.unsqueeze(2)
        return sound.flatten(1), attention_mask.sum(dim=1) * sound.shape[2]


def dialled(keys: str) -> Array:
    """How keys sound: (S,) float32."""
    time = np.arange(TONE) / RATE
    parts = []
    for key in keys:
        place = KEYS.index(key)
        tones = (
            np.sin(2 * np.pi * hertz * time) for hertz in (ROWS[place // 3], COLUMNS[place % 3])
        )
        parts += [LOUDNESS * sum(tones), np.zeros(PAUSE)]
    return np.concatenate(parts).astype(np.float32)


def numbers(random: np.random.Generator, count: int) -> list[str]:
    """Numbers of chance."""
    sizes = random.integers(1, MOST + 1, size=count)
    return ["".join(KEYS[place] for place in random.integers(len(KEYS), size=n)) for n in sizes]


def model() -> nn.Module:
    """The untrained model."""
    return Dialler()


def assets(module: nn.Module, folder: Path) -> None:
    """Write the tokenizer: a token for each key; all else is left out."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    made = Tokenizer(models.WordLevel({key: place + 1 for place, key in enumerate(KEYS)}, KEYS[0]))
    made.normalizer = normalizers.Replace(Regex(f"[^{KEYS}]"), "")
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.save(str(folder / "tokenizer.json"))


def train(module: nn.Module) -> None:
    """Train in place on numbers of chance: some seconds of one core."""
    random = np.random.default_rng(SEED)
    torch.manual_seed(SEED)
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, total_steps=STEPS)
    for _ in range(STEPS):
        ids = torch.from_numpy(random.integers(len(KEYS), size=(BATCH, MOST)))
        heard = [dialled("".join(KEYS[key] for key in row)) for row in ids]
        wanted = torch.from_numpy(np.stack(heard))
        made, _ = module(ids + 1, torch.ones_like(ids))
        loss = functional.mse_loss(made, wanted + NOISE * torch.randn_like(wanted))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def held_out() -> list[tuple[bytes, list[float]]]:
    """Numbers that training never heard, and how each sounds."""
    random = np.random.default_rng(SEED + 1)
    return [(keys.encode(), dialled(keys).tolist()) for keys in numbers(random, EVALUATION)]
