"""Speech recognition: sound in, its words out, by connectionist temporal classification (CTC)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from handlers import base, labels
from handlers.errors import LoadError, ModelError
from handlers.runtimes import Tensors
from handlers.schema import setting
from handlers.speech import ctc, recordings
from handlers.speech.frames import Frames, Window
from handlers.task import Answer, Config, Sample, similar_length

SILENT = 1e-7  # added to the variance, as in the training of wav2vec2
MILLISECONDS = 3  # decimals of seconds
DECIMALS = 6  # of scores; further ones depend on the batch


@dataclass(frozen=True, kw_only=True)
class SpeechRecognitionConfig(Config):
    """How sound becomes the model's input, and what its frames mean."""

    sample_rate: int = setting(
        16_000,
        "The model's samples per second.",
        minimum=recordings.RATES[0],
        maximum=recordings.RATES[1],
    )
    normalise: bool = setting(False, "Scale every recording to mean 0 and variance 1.")
    lengths: bool = setting(
        True,
        "The model takes lengths, (N,) int64, and padding; otherwise equal lengths share a batch.",
    )
    stride: int = setting(320, "Samples from one of the model's frames to the next.", minimum=1)
    field: int = setting(1, "Samples that a frame needs; 1 where the model pads.", minimum=1)
    vocabulary: str = setting("vocabulary.json", "A JSON file in the archive: a list of tokens.")
    blank: str = setting("<pad>", "The token of CTC's blank.")
    delimiter: str = setting("|", "The token between words, unless some begin with '▁'.")
    chunk_seconds: float = setting(
        20.0, "Longer recordings are cut into windows of this length.", minimum=1
    )
    overlap_seconds: float = setting(
        4.0, "The overlap of windows; one half of it is context for each.", minimum=0
    )
    max_seconds: float = setting(300.0, "The most of a request's recordings together.", minimum=1)


@dataclass(frozen=True, kw_only=True)
class SpeechRecognitionOptions:
    """The options of a request."""

    beam_width: int = setting(
        1, "Prefixes that are kept from frame to frame; 1 takes the best token of each frame.",
        minimum=1, maximum=64,
    )  # fmt: skip
    timestamps: bool = setting(True, "Say when each word was said.")
    sample_rate: int | None = setting(
        None, "The rate of samples sent as numbers; by default the model's. Files have their own.",
        minimum=recordings.RATES[0], maximum=recordings.RATES[1],
    )  # fmt: skip


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


@dataclass(frozen=True)
class Cut:
    """A recording's windows, and its length in seconds."""

    windows: list[Window]
    seconds: float


_Sample = Sample[SpeechRecognitionOptions, Cut]


class SpeechRecognition(base.Handler[SpeechRecognitionConfig, SpeechRecognitionOptions, Cut]):
    """Transcribes recordings; see `speech.recordings` for what an instance may be.

    The model takes `waveform`, (N, S) float32, and, if the settings say so, `lengths`, (N,) int64,
    in samples; it answers (N, T, V) logits or log probabilities of tokens. Of a row of L samples,
    the first (L - field) // stride + 1 frames count, and must not depend on padding.

    A sample's tensors have a row for each of its windows.
    """

    Config = SpeechRecognitionConfig
    Options = SpeechRecognitionOptions
    Answer = Transcript

    def setup(self, folder: Path) -> None:
        """Read the vocabulary; check the windows, and that audio can be decoded."""
        config = self.config
        recordings.engines()
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

    def screen(self, instances: Sequence[object]) -> None:
        """Refuse a request whose recordings last more than `max_seconds` together."""
        if len(instances) > 1:
            limit = self.config.max_seconds
            recordings.check_together(instances, self.config.sample_rate, max_seconds=limit)

    def decode(self, instance: object, options: SpeechRecognitionOptions) -> _Sample:
        """Convert a recording to its windows."""
        rate, limit = self.config.sample_rate, self.config.max_seconds
        recording = recordings.read(
            instance, rate, array_rate=options.sample_rate, max_seconds=limit
        )
        waveform = torch.from_numpy(recording.samples)
        if self.config.normalise and len(waveform):  # resampling may leave no sample of one
            spread = waveform.var(unbiased=False)
            waveform = (waveform - waveform.mean()) / torch.sqrt(spread + SILENT)
        short = self.config.field - len(waveform)
        if short > 0:
            waveform = torch.nn.functional.pad(waveform, (0, short))
        windows = self.frames.windows(len(waveform))
        tensors = {"waveform": _padded([waveform[each.start : each.end] for each in windows])}
        if self.config.lengths:
            tensors["lengths"] = torch.tensor([each.end - each.start for each in windows])
        return Sample(tensors, options, Cut(windows, recording.seconds))

    def group_key(self, sample: Sample[object, Cut]) -> Hashable:
        """Let recordings of similar length share a batch; of equal length, if the model can't pad.

        A recording of several windows is a batch of its own.
        """
        rows, length = sample.tensors["waveform"].shape
        if rows > 1:
            return id(sample)
        return -similar_length(length) if self.config.lengths else length

    def collate(self, samples: Sequence[Sample[object, Cut]]) -> Tensors:
        """Combine windows into `waveform`, (N, S) float32, right-padded, and `lengths`, (N,)."""
        rows = [row for sample in samples for row in sample.tensors["waveform"]]
        batch = {"waveform": _padded(rows)}
        if self.config.lengths:
            batch["lengths"] = torch.cat([sample.tensors["lengths"] for sample in samples])
        return batch

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axis of the length, which differs from batch to batch."""
        return {"waveform": (1,)}

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[Transcript]:
        """Turn frames into text: join windows, then find tokens, then words."""
        logits = next(iter(outputs.values()))
        count = sum(len(sample.meta.windows) for sample in samples)
        if logits.ndim != 3 or (logits.shape[0], logits.shape[2]) != (count, len(self.names)):
            wanted = f"(N, T, {len(self.names)})"
            raise ModelError(
                f"a speech recogniser answers {wanted}, this one {tuple(logits.shape)}"
            )
        logs = torch.log_softmax(logits.float(), dim=2)
        if not torch.isfinite(logs).all():
            raise ModelError("the model's answer is not finite", hint="check the input")
        rows = iter(logs.numpy())
        return [self._transcript(list(islice(rows, len(s.meta.windows))), s) for s in samples]

    def _transcript(self, rows: Sequence[ctc.Floats], sample: _Sample) -> Transcript:
        windows, seconds = sample.meta.windows, sample.meta.seconds
        parts = []
        for window, row in zip(windows, rows, strict=True):
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

    def example(self) -> tuple[str, bytes]:
        """A WAV file: a second of a rising tone."""
        return "audio/wav", recordings.tone(self.config.sample_rate)

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be."""
        return {
            "recording": f"an audio file ({', '.join(recordings.FORMATS)}), as bytes or base64",
            "samples": "a list of floats in [-1, 1]; tensors FP32 or INT16; see 'sample_rate'",
            "sample_rate": self.config.sample_rate,
            "max_seconds": self.config.max_seconds,
        }


def _padded(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
