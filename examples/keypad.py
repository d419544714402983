"""Numbers dialled on a telephone's keypad: its tones in, the digits out.

A key sounds two tones at once, one for its row and one for its column (ITU-T Q.23). The model is an
encoder–decoder: it hears two seconds at once, and writes digit after digit.
"""

from __future__ import annotations

import io
import wave
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from examples.dates import END, PAD, SPECIAL, START, WIDTH, Translator, nothing_cached
from handlers.speech.log_mel import LogMel

Array = np.ndarray[Any, Any]

SEED = 0
RATE = 16_000
ROWS, COLUMNS = (697, 770, 852, 941), (1209, 1336, 1477)  # Hz
KEYS = "123456789*0#"
MOST = 7  # keys that are dialled
BANDS, WINDOW = 40, 200  # of log-mel frames, and frames that are heard at once
MEL = LogMel(RATE, BANDS, 400, 160)
STRIDE = 4  # frames that the encoder makes one of
HEARD = WINDOW // STRIDE
TRAINING, EVALUATION = 3_000, 200
EPOCHS, BATCH = 6, 32


class Listener(Translator):
    """Hears frames and writes keys; called as `handlers.generation.sourced` says."""

    def __init__(self) -> None:
        super().__init__(len(SPECIAL) + len(KEYS), HEARD)
        self.bands = nn.Conv1d(BANDS, WIDTH, 3, 2, 1)
        self.halve = nn.Conv1d(WIDTH, WIDTH, 3, 2, 1)

    def forward(
        self,
        source_features: torch.Tensor,
        source_tokens: torch.Tensor,
        cached_source: torch.Tensor,
        input_ids: torch.Tensor,
        past_tokens: torch.Tensor,
        *past: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Turn frames, tokens and caches into logits, and what is new in the caches."""
        x = functional.gelu(self.halve(functional.gelu(self.bands(source_features))))
        x = x.transpose(1, 2)
        given = torch.arange(x.shape[1], device=x.device) < source_tokens[:, None]
        x = self.read(x, given)
        return self.write(x, given, cached_source, input_ids, past_tokens, past)


def dialled(random: np.random.Generator) -> tuple[str, Array]:
    """Keys of chance, and how they sound: (S,) float32, at most two seconds, with some noise."""
    count = int(random.integers(1, MOST + 1))
    keys = "".join(KEYS[place] for place in random.integers(len(KEYS), size=count))
    parts = []
    for key in keys:
        place = KEYS.index(key)
        length, pause = (int(RATE * random.uniform(*each)) for each in ((0.1, 0.16), (0.05, 0.09)))
        time = np.arange(length) / RATE
        tones = (
            np.sin(2 * np.pi * hertz * time) for hertz in (ROWS[place // 3], COLUMNS[place % 3])
        )
        parts += [np.zeros(pause), sum(tones) * random.uniform(0.1, 0.3)]
    sound = np.concatenate(parts)
    found = sound + random.normal(0, random.uniform(0.001, 0.03), len(sound))
    return keys, found.astype(np.float32)


@cache
def tokenizer() -> Any:
    """A token for each key, and those that texts begin and end with."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    numbers = {token: number for number, token in enumerate([*SPECIAL, *KEYS])}
    made = Tokenizer(models.WordLevel(numbers, unk_token=SPECIAL[-1]))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.decoder = decoders.Fuse()
    made.add_special_tokens(list(SPECIAL))
    return made


def model() -> nn.Module:
    """The untrained model."""
    return Listener()


def assets(module: nn.Module, folder: Path) -> None:
    """Write the tokenizer."""
    tokenizer().save(str(folder / "tokenizer.json"))


def train(module: nn.Module) -> None:
    """Train in place on numbers of chance: about 40 s of one core."""
    random = np.random.default_rng(SEED)
    frames, targets = [], []
    for _ in range(TRAINING):
        keys, sound = dialled(random)
        samples = torch.from_numpy(sound)
        frames.append(MEL(functional.pad(samples, (0, 2 * RATE - len(samples)))))
        targets.append(torch.tensor([*(len(SPECIAL) + KEYS.index(key) for key in keys), END]))
    heard = torch.stack(frames)
    wanted = pad_sequence(targets, batch_first=True, padding_value=PAD)
    torch.manual_seed(SEED)
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=0.01)
    steps = EPOCHS * -(-TRAINING // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    module.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(TRAINING).split(BATCH):
            loss = _loss(module, heard[chosen], wanted[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


def _loss(module: nn.Module, heard: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The loss of all next tokens, each from those before it and what was heard."""
    rows = len(heard)
    none, all_of_it = torch.zeros(rows, dtype=torch.int64), torch.full((rows,), HEARD)
    given = torch.cat([torch.full((rows, 1), START), wanted[:, :-1]], dim=1)
    logits = module(heard, all_of_it, none, given, none, *nothing_cached(rows))[0]
    return functional.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=PAD)


def recorded(sound: Array) -> bytes:
    """A WAV file of (S,) float32 samples in [-1, 1]."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((1, 2, RATE, len(sound), "NONE", ""))
        written.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def held_out() -> list[tuple[bytes, str]]:
    """Recordings that training never heard, and what was dialled in each."""
    random = np.random.default_rng(SEED + 1)
    made = [dialled(random) for _ in range(EVALUATION)]
    return [(recorded(sound), keys) for keys, sound in made]


def main() -> None:
    """Write a recording to a file, and say what was dialled."""
    body, keys = held_out()[0]
    Path("keypad.wav").write_bytes(body)
    print(keys)


if __name__ == "__main__":
    main()
