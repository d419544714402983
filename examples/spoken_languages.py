"""Which language numbers are spoken in: a small listener, trained on voices of eSpeak NG.

Held out are voices: training hears none of their variants. See examples/voices.py.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from examples.command_model import RATE, Recogniser, frames
from examples.commands import FORMS, NEW_VARIANTS, VARIANTS, recorded
from examples.voices import Line, speak

SEED = 0
LANGUAGES = {
    "English": "en-us", "French": "fr", "German": "de", "Italian": "it", "Polish": "pl",
    "Spanish": "es",
}  # fmt: skip
SPOKEN = 480  # recordings of the training
HELD_OUT = 120
LARGEST = 1000
BATCH = 32
EPOCHS = 12


class Listener(nn.Module):
    """Samples at RATE to logits of languages: the mean of what each frame says.

    Args:
        languages: how many there are.
    """

    def __init__(self, languages: int) -> None:
        super().__init__()
        self.hear = Recogniser(languages, width=64, layers=4)

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Recordings, (N, S) float32, of which the first `lengths`, (N,) int64, samples count."""
        spectra, counts = self.hear.spectra(waveform, lengths)
        return self.judge(spectra, counts)

    def judge(self, spectra: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """What `Recogniser.spectra` gives, to logits, (N, languages)."""
        logits = self.hear.scores(spectra, counts)
        number = frames(counts).unsqueeze(1)
        within = torch.arange(logits.shape[1], device=logits.device) < number
        return (logits * within.unsqueeze(2)).sum(dim=1) / number.clamp(min=1)


def model() -> nn.Module:
    """The untrained model."""
    return Listener(len(LANGUAGES))


def spoken(
    count: int, variants: Sequence[str], seed: int
) -> tuple[list[np.ndarray], list[str], float]:
    """Some numbers in each recording, in languages, voices, speeds and pitches of chance.

    Returns:
        Their samples, (S,) int16, their languages, and samples per second; always the same.
    """
    random = np.random.default_rng([SEED, seed])
    names = [str(each) for each in random.permutation([*LANGUAGES] * (count // len(LANGUAGES)))]
    lines = []
    for name in names:
        numbers = random.integers(LARGEST, size=random.integers(2, 4))
        voice = f"{LANGUAGES[name]}+{random.choice(variants)}"
        speed, pitch = int(random.integers(130, 200)), int(random.integers(20, 80))
        lines.append(Line(", ".join(map(str, numbers)), voice, speed, pitch))
    sounds, rate = speak(lines)
    return sounds, names, rate


def train(module: Listener) -> None:
    """Train in place on SPOKEN recordings: some 20 seconds on two cores."""
    sounds, names, own_rate = spoken(SPOKEN, VARIANTS, seed=1)
    random = np.random.default_rng(SEED)
    samples = [torch.from_numpy(recorded(each, own_rate, random)) for each in sounds]
    targets = torch.tensor([[*LANGUAGES].index(name) for name in names])
    order = sorted(range(len(samples)), key=lambda place: len(samples[place]))
    batches = []
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        waveform = pad_sequence([samples[place] for place in chosen], batch_first=True)
        lengths = torch.tensor([len(samples[place]) for place in chosen])
        with torch.no_grad():
            batches.append((*module.hear.spectra(waveform, lengths), targets[chosen]))
    torch.manual_seed(SEED)
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=0.05)
    steps = EPOCHS * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    module.train()
    for _ in range(EPOCHS):
        for chosen_batch in torch.randperm(len(batches)).tolist():
            spectra, counts, languages = batches[chosen_batch]
            logits = module.judge(spectra, counts)
            loss = nn.functional.cross_entropy(logits, languages, label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


def assets(module: nn.Module, folder: Path) -> None:
    """Write the names of the languages, in the order of the logits."""
    (folder / "labels.json").write_text(json.dumps([*LANGUAGES]))


def held_out() -> list[tuple[bytes, str]]:
    """Files in several formats, by voices that training never heard, and their languages."""
    import soundfile
    import soxr

    sounds, names, own_rate = spoken(HELD_OUT, NEW_VARIANTS, seed=2)
    random = np.random.default_rng([SEED, 2])
    pairs = []
    for place, sound in enumerate(sounds):
        form, subtype, rate = FORMS[place % len(FORMS)]
        samples = soxr.resample(recorded(sound, own_rate, random), RATE, rate).clip(-1, 1)
        file = io.BytesIO()
        soundfile.write(file, samples, rate, format=form, subtype=subtype)
        pairs.append((file.getvalue(), names[place]))
    return pairs


def main() -> None:
    """Write a held-out recording to the standard output; its language, to the error's."""
    file, language = held_out()[0]
    sys.stdout.buffer.write(file)
    print(language, file=sys.stderr)


if __name__ == "__main__":
    main()
