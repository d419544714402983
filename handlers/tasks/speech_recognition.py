"""Speech recognition: sound in, its words out, by connectionist temporal classification (CTC)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from handlers import labels
from handlers.errors import LoadError, ModelError
from handlers.runtimes import Tensors
from handlers.schema import setting
from handlers.speech import ctc
from handlers.speech.frames import Frames, Window
from handlers.speech.handler import AudioConfig, AudioHandler, AudioOptions, Heard
from handlers.task import Answer, Sample

MILLISECONDS = 3  # decimals of seconds
DECIMALS = 6  # of scores; further ones depend on the batch


@dataclass(frozen=True, kw_only=True)
class SpeechRecognitionConfig(AudioConfig):
    """How sound becomes the model's input, and what its frames mean."""

    lengths: bool = setting(
        True,
        "The model takes lengths, (N,) int64, and padding; otherwise equal lengths share a batch.",
    )
    stride: int = setting(320, "Samples from one of the model's frames to the next.", minimum=1)
    vocabulary: str = setting("vocabulary.json", "A JSON file in the archive: a list of tokens.")
    blank: str = setting("<pad>", "The token of CTC's blank.")
    delimiter: str = setting("|", "The token between words, unless some begin with '▁'.")
    chunk_seconds: float = setting(
        20.0, "Longer recordings are cut into windows of this length.", minimum=1
    )
    overlap_seconds: float = setting(
        4.0, "The overlap of windows; one half of it is context for each.", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class SpeechRecognitionOptions(AudioOptions):
    """The options of a request."""

    beam_width: int = setting(
        1, "Prefixes that are kept from frame to frame; 1 takes the best token of each frame.",
        minimum=1, maximum=64,
    )  # fmt: skip
    timestamps: bool = setting(True, "Say when each word was said.")


@dataclass(frozen=True)
class Transcript(Answer):
    """The text, its words if they were asked for, and how long the recording lasts.

    A word has `word`, `start` and `end`, the seconds in which the model outputs its tokens, and
    `score`, its confidence in them, in [0, 1]. A model of letters outputs them all along the word;
    a model of whole words, once within it.
    """

    text: str
    words: list[dict[str, str | float]]
    seconds: float


_Sample = Sample[SpeechRecognitionOptions, Heard]


class SpeechRecognition(AudioHandler[SpeechRecognitionConfig, SpeechRecognitionOptions]):
    """Transcribes recordings.

    The model answers (N, T, V) logits or log probabilities of tokens. Of a row of L samples, the
    first (L - field) // stride + 1 frames count, and must not depend on padding.
    """

    Config = SpeechRecognitionConfig
    Options = SpeechRecognitionOptions
    Answer = Transcript

    def setup(self, folder: Path) -> None:
        """Read the vocabulary; check the windows, and that audio can be decoded."""
        super().setup(folder)
        config = self.config
        self.names = labels.read(folder / config.vocabulary)
        self.blank = self._number(config.blank)
        begun = any(name.startswith(ctc.BEGINS) for name in self.names)
        self.delimiter = -1 if begun else self._number(config.delimiter)
        chunk, overlap = (
            round(seconds * config.sample_rate / config.stride) * config.stride
            for seconds in (config.chunk_seconds, config.overlap_seconds)
        )
        self.frames = Frames(config.stride, config.field, chunk, overlap)

    def _number(self, name: str) -> int:
        if name not in self.names:
            raise LoadError(f"there is no token {name[:40]!a} in {self.config.vocabulary}")
        return self.names.index(name)

    def spans(self, samples: int) -> list[tuple[int, int]]:
        """The windows of a recording."""
        return [(each.start, each.end) for each in self.frames.windows(samples)]

    def padded_sizes(self, batch: Tensors) -> set[int]:
        """Samples, and the frames that are made of them."""
        found = super().padded_sizes(batch)
        return found | {self.frames.count(samples) for samples in found}

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[Transcript]:
        """Turn frames into text: join windows, then find tokens, then words."""
        logits = next(iter(outputs.values()))
        windows = [self.frames.windows(sample.meta.samples) for sample in samples]
        count = sum(map(len, windows))
        if logits.ndim != 3 or (logits.shape[0], logits.shape[2]) != (count, len(self.names)):
            wanted = f"(N, T, {len(self.names)})"
            raise ModelError(
                f"a speech recogniser answers {wanted}, this one {tuple(logits.shape)}"
            )
        logs = torch.log_softmax(logits.float(), dim=2)
        if not torch.isfinite(logs).all():
            raise ModelError("the model's answer is not finite", hint="check the input")
        rows = iter(logs.numpy())
        return [
            self._transcript(list(zip(each, islice(rows, len(each)), strict=True)), sample)
            for each, sample in zip(windows, samples, strict=True)
        ]

    def _transcript(self, rows: Sequence[tuple[Window, ctc.Floats]], sample: _Sample) -> Transcript:
        seconds, parts = sample.meta.seconds, []
        for window, row in rows:
            if len(row) < window.last:
                size = window.end - window.start
                raise ModelError(
                    f"{size} samples gave {len(row)} frames, not {window.last}",
                    hint="see 'stride' and 'field' in the recipe's 'handler:'",
                )
            parts.append(row[window.first : window.last])
        logs = np.concatenate(parts)
        width, names, delimiter = sample.options.beam_width, self.names, self.delimiter
        if width > 1:
            tokens, _ = ctc.beam(logs, self.blank, width, self.check_time)
        else:
            tokens = ctc.greedy(logs, self.blank)
        text = ctc.text(tokens, names, delimiter)
        found = ctc.words(tokens, logs, names, delimiter) if sample.options.timestamps else ()
        timed = [self._timed(word, seconds) for word in found]
        return Transcript(text, timed, round(seconds, MILLISECONDS))

    def _timed(self, word: ctc.Word, seconds: float) -> dict[str, str | float]:
        step = self.config.stride / self.config.sample_rate
        start, end = (
            round(min(frame * step, seconds), MILLISECONDS) for frame in (word.start, word.end)
        )
        return {"word": word.text, "start": start, "end": end, "score": round(word.score, DECIMALS)}
