"""Shared by tasks that take sound: a recording in, samples for the model out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from handlers import base
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, setting
from handlers.speech import recordings
from handlers.task import Config, Sample, similar_length

SILENT = 1e-7  # added to the variance, as in the training of wav2vec2
WIDTHS = 16  # of padded batches, from one power of 2 to the next


@dataclass(frozen=True, kw_only=True)
class AudioConfig(Config):
    """How sound becomes the model's input, in this order."""

    sample_rate: int = setting(
        16_000,
        "The model's samples per second.",
        minimum=recordings.RATES[0],
        maximum=recordings.RATES[1],
    )
    max_seconds: float = setting(300.0, "The most of a request's recordings together.", minimum=1)
    fixed_seconds: float | None = setting(
        None, "Cut recordings to this length, or pad them with silence.", minimum=0.1
    )
    normalise: bool = setting(False, "Scale every recording to mean 0 and variance 1.")
    field: int = setting(
        1, "Samples that a frame of the model needs; 1 where the model pads.", minimum=1
    )
    lengths: bool = setting(
        False,
        "The model takes lengths, (N,) int64, and padding; otherwise equal lengths share a batch.",
    )


@dataclass(frozen=True, kw_only=True)
class AudioOptions:
    """The options of a request."""

    sample_rate: int | None = setting(
        None, "The rate of samples sent as numbers; by default the model's. Files have their own.",
        minimum=recordings.RATES[0], maximum=recordings.RATES[1],
    )  # fmt: skip


@dataclass(frozen=True)
class Heard:
    """What a recording's answer needs besides the model's.

    Attributes:
        samples: how many the model is given, before windows are cut and padded.
        seconds: how long the recording lasts.
        truncated: whether it goes on behind what the model is given.
    """

    samples: int
    seconds: float
    truncated: bool


C = TypeVar("C", bound=AudioConfig)
O = TypeVar("O", bound=AudioOptions)  # noqa: E741 - a task's options


class AudioHandler(base.Handler[C, O, Heard]):
    """A task that takes recordings. A subclass implements `answer`, `Options` and `Answer`.

    See `speech.recordings` for what an instance may be. The model takes `waveform`, (N, S) float32,
    and, if the settings say so, `lengths`, (N,) int64, how many samples of each row are no padding.
    A sample's tensors have a row for each of its `spans`.
    """

    def setup(self, folder: Path) -> None:
        """Check that audio can be decoded."""
        recordings.engines()

    def screen(self, instances: Sequence[object]) -> None:
        """Refuse a request whose recordings last more than `max_seconds` together."""
        if len(instances) > 1:
            limit = self.config.max_seconds
            recordings.check_together(instances, self.config.sample_rate, max_seconds=limit)

    def decode(self, instance: object, options: O) -> Sample[O, Heard]:
        """Convert a recording to rows of samples at the model's rate, mixed to mono."""
        config, most = self.config, self.fixed
        recording = recordings.read(
            instance,
            config.sample_rate,
            array_rate=options.sample_rate,
            max_seconds=config.max_seconds,
        )
        waveform = torch.from_numpy(recording.samples[:most])
        if config.normalise and len(waveform):  # resampling may leave no sample of one
            spread = waveform.var(unbiased=False)
            waveform = (waveform - waveform.mean()) / torch.sqrt(spread + SILENT)
        waveform = _at_least(config.field, waveform)
        spans = self.spans(len(waveform))
        rows = _padded([waveform[start:end] for start, end in spans])
        tensors = {"waveform": rows if most is None else _at_least(most, rows)}
        if config.lengths:
            tensors["lengths"] = torch.tensor([end - start for start, end in spans])
        truncated = most is not None and len(recording.samples) > most
        return Sample(tensors, options, Heard(len(waveform), recording.seconds, truncated))

    @property
    def fixed(self) -> int | None:
        """How many samples every recording has, if that is fixed."""
        seconds = self.config.fixed_seconds
        return None if seconds is None else round(seconds * self.config.sample_rate)

    def spans(self, samples: int) -> Sequence[tuple[int, int]]:
        """The beginning and end of each row of a recording of so many samples; one for all."""
        return [(0, samples)]

    def group_key(self, sample: Sample[object, Heard]) -> Hashable:
        """Let recordings of similar length share a batch; of equal length, if the model can't pad.

        A recording of several rows is a batch of its own.
        """
        rows, length = sample.tensors["waveform"].shape
        if rows > 1:
            return id(sample)
        return -similar_length(length) if self.config.lengths else length

    def collate(self, samples: Sequence[Sample[object, Heard]]) -> Tensors:
        """Combine rows into `waveform`, (N, S) float32, right-padded, and `lengths`, (N,).

        Where lengths say what is padding, S is rounded up by less than a sixteenth: an engine
        keeps something for every shape that it has seen.
        """
        rows = [row for sample in samples for row in sample.tensors["waveform"]]
        batch = {"waveform": _padded(rows)}
        if self.config.lengths:
            batch["lengths"] = torch.cat([sample.tensors["lengths"] for sample in samples])
            if self.fixed is None:
                batch["waveform"] = _at_least(_rounded(max(map(len, rows))), batch["waveform"])
        return batch

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axis of the length, which differs from batch to batch unless it is fixed."""
        return {"waveform": (1,)} if self.fixed is None else {}

    def example(self) -> tuple[str, bytes]:
        """A WAV file: a second of a rising tone."""
        return "audio/wav", recordings.tone(self.config.sample_rate)

    def instance_schema(self) -> JsonObject:
        """A file in base64, or samples."""
        return recordings.SCHEMA

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be."""
        return recordings.described(self.config.sample_rate, self.config.max_seconds)


def _padded(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def _at_least(samples: int, waveform: torch.Tensor) -> torch.Tensor:
    """With silence behind it, to so many samples."""
    missing = samples - waveform.shape[-1]
    return torch.nn.functional.pad(waveform, (0, missing)) if missing > 0 else waveform


def _rounded(samples: int) -> int:
    """The next of a few widths: WIDTHS from one power of 2 to the next."""
    step = max(1, (1 << (samples - 1).bit_length()) // (2 * WIDTHS))
    return -(-samples // step) * step
