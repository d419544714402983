"""Audio classification: a recording in, the most likely labels and their scores out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from handlers import labels
from handlers.errors import LoadError, ModelError
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, object_schema, setting
from handlers.speech import spectra
from handlers.speech.handler import AudioConfig, AudioHandler, AudioOptions, Heard
from handlers.task import Answer, Sample, same_shape, stack

MILLISECONDS = 3  # decimals of seconds
NEEDED = {"kaldi": "frames", "whisper": "fixed_seconds"}


@dataclass(frozen=True, kw_only=True)
class AudioClassificationConfig(AudioConfig):
    """How sound becomes the model's input, and logits become scores."""

    spectrum: spectra.Kind = setting(
        "none", "What is made of samples for the model: Kaldi's filter banks, or Whisper's spectra."
    )
    bands: int = setting(128, "Bands of a spectrum.", minimum=1, maximum=512)
    frames: int | None = setting(
        None, "Cut spectra to so many, 10 ms each, or pad them with 0.", minimum=1
    )
    mean: float = setting(0.0, "What is taken from spectra, padding included.")
    std: float = setting(1.0, "What spectra are divided by, after that.", minimum=1e-9)
    labels: str | None = setting(None, "A JSON file in the archive: a list of unique names.")
    activation: Literal["softmax", "sigmoid"] = setting(
        "softmax", "What makes scores of logits: sigmoid where a sound may have several labels."
    )


@dataclass(frozen=True, kw_only=True)
class AudioClassificationOptions(AudioOptions):
    """The options of a request."""

    top_k: int = setting(5, "How many labels to answer; at most all there are.", minimum=1)


@dataclass(frozen=True)
class AudioLabels(Answer):
    """The most likely labels, best first, and their probabilities in [0, 1].

    `seconds` is how long the recording lasts; `truncated` says that the model was not given all.
    """

    labels: list[str]
    scores: list[float]
    seconds: float
    truncated: bool

    def to_json(self) -> JsonObject:
        """Label to score, best first, and how much there was to hear."""
        scores = dict(zip(self.labels, self.scores, strict=True))
        return {"scores": scores, "seconds": self.seconds, "truncated": self.truncated}

    @classmethod
    def schema(cls) -> JsonObject:
        """An object with an object of labels and probabilities."""
        score: JsonObject = {"type": "number", "minimum": 0, "maximum": 1}
        return object_schema(
            {
                "scores": {"type": "object", "additionalProperties": score},
                "seconds": {"type": "number", "minimum": 0},
                "truncated": {"type": "boolean"},
            }
        )


_Sample = Sample[AudioClassificationOptions, Heard]


class AudioClassification(AudioHandler[AudioClassificationConfig, AudioClassificationOptions]):
    """Classifies recordings; the model answers (N, classes) logits.

    It takes samples; or, where the settings say so, `spectrum`, (N, T, bands) float32, instead.
    """

    Config = AudioClassificationConfig
    Options = AudioClassificationOptions
    Answer = AudioLabels

    def setup(self, folder: Path) -> None:
        """Read the labels; check the settings."""
        super().setup(folder)
        config = self.config
        self.labels = labels.read(folder / config.labels) if config.labels else None
        if config.spectrum == "none" and (config.frames, config.mean, config.std) != (None, 0, 1):
            raise LoadError(
                "'frames', 'mean' and 'std' are of spectra", hint="set 'spectrum', or leave them"
            )
        needed = NEEDED.get(config.spectrum, "sample_rate")
        if getattr(config, needed) is None:
            raise LoadError(f"{config.spectrum!r} spectra need {needed!r}: models take so many")
        if config.spectrum != "none" and config.lengths:
            raise LoadError("'lengths' are of samples, and the model takes spectra")

    def decode(self, instance: object, options: AudioClassificationOptions) -> _Sample:
        """Convert a recording to samples, or to its spectra."""
        sample = super().decode(instance, options)
        config, waveform = self.config, sample.tensors["waveform"][0]
        if config.spectrum == "none":
            return sample
        rate, frames = config.sample_rate, config.frames
        make = spectra.kaldi if config.spectrum == "kaldi" else spectra.whisper
        longest = None if frames is None else spectra.SPAN + spectra.HOP * frames
        found, truncated = make(waveform[:longest], rate, config.bands), sample.meta.truncated
        if frames is not None:
            truncated |= len(found) > frames
            missing = max(0, frames - len(found))
            found = torch.nn.functional.pad(found[:frames], (0, 0, 0, missing))
        tensors = {"spectrum": (found - config.mean) / config.std}
        return Sample(tensors, options, replace(sample.meta, truncated=truncated))

    def group_key(self, sample: Sample[object, Heard]) -> Hashable:
        """Let spectra of one length share a batch; samples as usual."""
        return super().group_key(sample) if self.config.spectrum == "none" else same_shape(sample)

    def collate(self, samples: Sequence[Sample[object, Heard]]) -> Tensors:
        """Combine into `spectrum`, (N, T, bands) float32, or `waveform` as usual."""
        if self.config.spectrum == "none":
            return super().collate(samples)
        return stack([sample.tensors for sample in samples])

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axis of the length of samples, unless it is fixed."""
        return super().varying_axes() if self.config.spectrum == "none" else {}

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[AudioLabels]:
        """Apply softmax, or sigmoid, and take the `top_k` of each."""
        logits = labels.logits(outputs).float()
        if not torch.isfinite(logits).all():
            raise ModelError("the model's answer is not finite", hint="check the input")
        scores = labels.ACTIVATIONS[self.config.activation](logits)
        best = labels.best(scores, self.labels, [sample.options.top_k for sample in samples])
        return [
            AudioLabels(*each, round(sample.meta.seconds, MILLISECONDS), sample.meta.truncated)
            for each, sample in zip(best, samples, strict=True)
        ]

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be, and how much of it is heard."""
        seconds = self.config.fixed_seconds
        if seconds is None and self.config.frames is not None:
            seconds = self.config.frames * spectra.HOP / self.config.sample_rate
        heard = "all of a recording"
        if seconds is not None:
            heard = f"the first {seconds:g} s; the answer's 'truncated' says if there is more"
        return {**super().describe_input(), "heard": heard}
