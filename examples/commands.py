"""Spoken digits and commands: a small recogniser, trained on voices that eSpeak NG makes up.

Held out are voices: training hears neither their variants nor, of half of them, their accents.
See examples/voices.py.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from examples.command_model import RATE, Recogniser, frames
from examples.voices import Line, speak

Array = np.ndarray[Any, Any]

SEED = 0
WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("start", "stop", "left", "right", "up", "down", "yes", "no", "on", "off"),
    *("open", "close", "play", "pause", "next", "back", "louder", "quieter", "home", "help"),
)
BLANK = "<pad>"

ACCENTS = ("en", "en-us", "en-029", "en-gb-x-rp", "en-us-nyc", "en-gb-x-gbclan")
VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m8", "f1", "f2", "f3", "f4", "adam", "Alex", "Alicia"),
    *("Andrea", "Andy", "Annie", "antonio", "aunty", "belinda", "benjamin", "caleb", "Denis"),
    *("Diogo", "ed", "edward", "gustave", "Gene", "Henrique", "Hugo", "ian", "iven", "iven2"),
    *("iven3", "Jacky", "john", "klatt", "klatt2", "klatt3", "Lee", "linda", "marcelo", "Marco"),
    *("Mario", "max", "Michael", "michel", "miguel", "Mike", "Nguyen", "norbert", "pablo"),
    *("paul", "pedro", "quincy", "Reed", "rob", "robert", "sandro", "steph", "steph2", "travis"),
    *("victor", "zac"),
)
NEW_ACCENTS = ("en-gb-scotland", "en-gb-x-gbcwmd", *ACCENTS[:2])
NEW_VARIANTS = ("m6", "m7", "f5", "david", "boris", "shelby", "steph3", "Gene2", "klatt4", "croak")

SPOKEN = 4800  # phrases of the training
HELD_OUT = 300
MOST_WORDS = 4
BATCH = 32
EPOCHS = 10
OTHER_HEADS = (0.85, 1.2)
HIDDEN = (7, 12)  # at most so many bands, and spectra, are hidden from the model in training


def model() -> nn.Module:
    """The untrained model; its tokens are the blank and WORDS."""
    return Recogniser(1 + len(WORDS))


def phrases(count: int, accents: Sequence[str], variants: Sequence[str], seed: int) -> list[Line]:
    """Some words each, in voices, speeds and pitches of chance; always the same."""
    random = np.random.default_rng([SEED, seed])
    lines = []
    for _ in range(count):
        words = random.choice(WORDS, random.integers(1, MOST_WORDS + 1))
        voice = f"{random.choice(accents)}+{random.choice(variants)}"
        between = ", " if random.random() < 0.3 else " "
        speed, pitch = int(random.integers(120, 220)), int(random.integers(20, 80))
        lines.append(Line(between.join(words), voice, speed, pitch))
    return lines


def said(line: Line) -> str:
    """The words of a line."""
    return line.text.replace(",", "")


def recorded(sound: Array, own_rate: float, random: np.random.Generator) -> Array:
    """A line as somebody might record it: (S,) float32 at RATE, in [-1, 1].

    With quiet around it, louder or softer, with some noise, and at times through a telephone.
    """
    import soxr

    samples: Array = sound.astype(np.float32) / 32768
    if random.random() < 0.3:
        samples, own_rate = soxr.resample(samples, own_rate, 8000), 8000
    samples = soxr.resample(samples, own_rate, RATE)
    samples = np.pad(samples, tuple(random.integers(0, RATE // 3, 2).tolist()))
    noise: Array = random.normal(size=len(samples)).astype(np.float32)
    if random.random() < 0.5:  # dull rather than bright
        noise = 4 * np.convolve(noise, np.ones(16, np.float32) / 16, "same")
    noise *= samples.std() * 10 ** -random.uniform(0.8, 2.2)
    found: Array = (samples + noise) * 10 ** random.uniform(-1, 0)
    return found.clip(-1, 1)


def train(module: nn.Module) -> None:
    """Train in place on SPOKEN phrases: about a minute."""
    batches = _batches(module)
    torch.manual_seed(SEED)
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=0.02)
    steps = EPOCHS * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    module.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(batches)).tolist():
            spectra, counts, numbers, words = batches[chosen]
            scores = module.scores(_hidden(spectra), counts)  # type: ignore[operator]
            loss = nn.functional.ctc_loss(
                scores.log_softmax(dim=2).transpose(0, 1), numbers, frames(counts), words
            )
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimiser.step()
            schedule.step()
    module.eval()


def _batches(module: nn.Module) -> list[tuple[torch.Tensor, ...]]:
    """Phrases of about one length: spectra, their counts, all words' numbers, and how many."""
    lines = phrases(SPOKEN, ACCENTS, VARIANTS, seed=1)
    sounds, own_rate = speak(lines)
    random = np.random.default_rng(SEED)
    # Played faster or slower, a voice becomes another: of a smaller or a larger head.
    rates = own_rate * random.uniform(*OTHER_HEADS, len(lines))
    heard = (recorded(*each, random) for each in zip(sounds, rates, strict=True))
    samples = list(map(torch.from_numpy, heard))
    order = sorted(range(len(lines)), key=lambda place: len(samples[place]))
    batches: list[tuple[torch.Tensor, ...]] = []
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        waveform = pad_sequence([samples[place] for place in chosen], batch_first=True)
        lengths = torch.tensor([len(samples[place]) for place in chosen])
        words = [said(lines[place]).split() for place in chosen]
        numbers = torch.tensor([1 + WORDS.index(word) for each in words for word in each])
        with torch.no_grad():
            spectra, counts = module.spectra(waveform, lengths)  # type: ignore[operator]
        batches.append((spectra, counts, numbers, torch.tensor(list(map(len, words)))))
    return batches


def _hidden(spectra: torch.Tensor) -> torch.Tensor:
    """With a few bands and moments of each recording gone, so that no detail is relied on.

    See: D. Park et al., SpecAugment, 2019.
    """
    hidden = spectra.clone()
    for row in hidden:
        for axis, most in enumerate(HIDDEN):
            width = int(torch.randint(most, ()))
            start = int(torch.randint(max(1, row.shape[axis] - width), ()))
            row.narrow(axis, start, width).zero_()
    return hidden


def assets(module: nn.Module, folder: Path) -> None:
    """Write the vocabulary: a token for each word."""
    (folder / "vocabulary.json").write_text(json.dumps([BLANK, *(f"▁{word}" for word in WORDS)]))


# The format, its subtype, and samples per second: what clients send.
FORMS = (
    ("WAV", "PCM_16", 16_000),
    ("WAV", "PCM_16", 22_050),
    ("FLAC", "PCM_16", 44_100),
    ("OGG", "VORBIS", 48_000),
    ("WAV", "ULAW", 8000),
)


def held_out() -> list[tuple[bytes, str]]:
    """Files in several formats, by voices that training never heard, and what is said in each."""
    import soundfile
    import soxr

    lines = phrases(HELD_OUT, NEW_ACCENTS, NEW_VARIANTS, seed=2)
    sounds, own_rate = speak(lines)
    random = np.random.default_rng([SEED, 2])
    pairs = []
    for place, sound in enumerate(sounds):
        form, subtype, rate = FORMS[place % len(FORMS)]
        samples = soxr.resample(recorded(sound, own_rate, random), RATE, rate).clip(-1, 1)
        file = io.BytesIO()
        soundfile.write(file, samples, rate, format=form, subtype=subtype)
        pairs.append((file.getvalue(), said(lines[place])))
    return pairs


def main() -> None:
    """Write a held-out recording to the standard output; what is said in it, to the error's."""
    file, words = held_out()[0]
    sys.stdout.buffer.write(file)
    print(words, file=sys.stderr)


if __name__ == "__main__":
    main()
