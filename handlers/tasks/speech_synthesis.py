"""Speech synthesis: a text in, how it sounds out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from handlers import wave_files
from handlers.errors import BadRequest, LoadError, ModelError
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, setting, unknown
from handlers.speech import sentences, speaking
from handlers.speech.speaking import Asked, Line, SpeechSynthesisOptions, VoiceOptions
from handlers.task import Answer, Config, Sample, similar_length
from handlers.text import text, tokens

DECIMALS = 5  # of samples; a step of 16 bits is 0.00003
MILLISECONDS = 3  # decimals of seconds
BEGINNING = 16  # frames that a model which draws makes before it is known how many there are
USUAL_FRAMES = 2  # for a token: 15 letters a second, a blank behind each, 60 frames a second
SHORTER = "send its sentences one by one, or let them be sent so: 'stream'"
SENTENCE = "Every model has something to say."


@dataclass(frozen=True, kw_only=True)
class SpeechSynthesisConfig(Config):
    """How a text becomes the model's input, and what its waveforms are."""

    tokenizer: str = setting(
        "tokenizer.json", "A file in the archive, as the tokenizers library writes it."
    )
    blank_token: str = setting(
        "", "A token that stands before, between and behind those of a text, if there is one."
    )
    max_tokens: int = setting(
        600, "The most tokens of a text, without blank ones; more are refused.", minimum=1
    )
    max_characters: int = setting(
        5_000, "The most characters of a request's texts together.", minimum=1
    )
    sampling_rate: int = setting(16_000, "The model's samples per second.", minimum=1)
    max_seconds: float = setting(
        30.0, "The longest speech; what would last longer is refused.", minimum=0.1
    )
    voices: tuple[str, ...] = setting(
        ("default",), "The names of voices, in the order of their numbers in the model."
    )
    noise_size: int = setting(
        0, "Numbers of chance for a frame, of a model that takes them; 0 of another.", minimum=0
    )
    duration_noise: bool = setting(True, "Whether such a model draws durations, too.")


@dataclass(frozen=True)
class Speech(Answer):
    """A text's sound; a WAV file of it has one channel, and 16 bits a sample.

    Attributes:
        samples: in [-1, 1].
        sampling_rate: how many there are in a second.
        seconds: how long it lasts.
    """

    samples: list[float]
    sampling_rate: int
    seconds: float

    media_types: ClassVar[tuple[str, ...]] = (wave_files.WAV,)
    usually_encoded: ClassVar[bool] = True
    ragged: ClassVar[Mapping[str, tuple[int, ...]]] = {"samples": ()}

    def encode(self, media_type: str) -> bytes:
        """The WAV file."""
        return wave_files.wav(self.samples, self.sampling_rate)


_Sample = Sample[Asked, Line]


class SpeechSynthesis(sentences.SentenceHandler[SpeechSynthesisConfig, Asked, Line]):
    """Speaks texts.

    The model is called by position with

        input_ids        (N, T) int64      tokens, padded on the right
        attention_mask   (N, T) int64      0 for padding

    and answers waveforms, (N, S) float32 in [-1, 1], and how many samples of each count, (N,)
    int64. Where there are several voices, it also takes

        speaker          (N,) int64        the number of a voice

    A model that needs chance, `noise_size`, draws nothing itself. It takes

        speaking_rate    (N,) float32      2 for twice as fast as 1
        duration_noise   (N, 2, T) float32
        noise            (N, F, noise_size) float32

    makes the sound of the first F frames, and answers how many samples a text needs, which may be
    more. It is asked first for few frames and then, with texts of similar length, for all: so it
    is known how long speech lasts before most of it is made, and shapes depend on inputs alone.
    """

    Config = SpeechSynthesisConfig
    Options: type[Asked] = SpeechSynthesisOptions
    Answer = Speech

    def setup(self, folder: Path) -> None:
        """Read the tokenizer, and choose the options that the model has."""
        config = self.config
        self.tokenizer = tokens.load(folder / config.tokenizer)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.blank: int | None = None
        if config.blank_token:
            self.blank = self.tokenizer.token_to_id(config.blank_token)
            if self.blank is None:
                raise LoadError(f"'blank_token' {config.blank_token!r} is not in the tokenizer")
        if not config.voices or len(set(config.voices)) != len(config.voices):
            raise LoadError("'voices' must be names, at least one, each another")
        if not config.noise_size:
            self.Options = VoiceOptions
            self.default_options = VoiceOptions(voice=self.default_options.voice)
            others = sorted({*(config.defaults or {})} - {*vars(self.default_options)})
            if others:
                raise LoadError(
                    f"'defaults' has {others[0]!r}, which a model without 'noise_size' can't do"
                )
        self._voice(self.default_options)
        if (config.defaults or {}).get("stream"):
            raise LoadError("'defaults' can't have 'stream': a client must expect it")
        self._example = self._sentence()

    def _sentence(self) -> str:
        """A sentence, or letters of the tokenizer where it has none of a sentence's."""
        if self.tokenizer.encode(SENTENCE).ids:
            return SENTENCE
        letters = sorted(each for each in self.tokenizer.get_vocab() if len(each) == 1)
        return "".join(letters)[: min(len(SENTENCE), self.config.max_tokens)]

    def _voice(self, options: Asked) -> int:
        voices = self.config.voices
        if options.voice and options.voice not in voices:
            raise BadRequest(unknown(options.voice, voices, "'voice'"), status=422)
        return voices.index(options.voice) if options.voice else 0

    def screen(self, instances: Sequence[object]) -> None:
        """Refuse a request of more than `max_characters`."""
        text.check_together(instances, max_characters=self.config.max_characters)

    def decode(self, instance: object, options: Asked) -> _Sample:
        """Convert a text to its tokens, or the sentences of one that is sent in parts."""
        whole = text.read(instance)
        voice = self._voice(options)
        parts = sentences.split(whole) if options.stream else [whole]
        found = [ids for part in parts if (ids := self.tokenizer.encode(part).ids)]
        if not found:
            raise BadRequest(
                "there is nothing in the text that this model can speak",
                hint="send words in the letters of its language",
                status=422,
            )
        longest = max(map(len, found))
        if longest > self.config.max_tokens:
            raise BadRequest(
                f"the text has {longest} tokens; at most {self.config.max_tokens} are allowed",
                hint=SHORTER,
                status=413,
            )
        first, *rest = (Line(self._with_blanks(ids), voice, options) for ids in found)
        return Sample({}, options, replace(first, rest=tuple(rest)))

    def _with_blanks(self, ids: list[int]) -> torch.Tensor:
        if self.blank is None:
            return torch.tensor(ids)
        whole = torch.full((2 * len(ids) + 1,), self.blank)
        whole[1::2] = torch.tensor(ids)
        return whole

    def rest(self, sample: _Sample) -> list[_Sample]:
        """The sentences that follow."""
        return [Sample({}, sample.options, line) for line in sample.meta.rest]

    def pcm(self, answer: Any) -> bytes:
        """The bare samples of a sentence, a `Speech`."""
        return wave_files.pcm(answer.samples)

    def group_key(self, sample: Sample[object, Line]) -> Hashable:
        """Let texts of similar length share a batch: padding costs time, too."""
        return similar_length(len(sample.meta.ids))

    def collate(self, samples: Sequence[Sample[object, Line]]) -> Tensors:
        """Combine texts, and what is drawn for the first frames of each."""
        return self._inputs([sample.meta for sample in samples], BEGINNING)

    def _inputs(self, lines: Sequence[Line], frames: int) -> Tensors:
        rows = [line.ids for line in lines]
        longest = speaking.rounded(max(map(len, rows)), tokens.STEP)
        lengths = torch.tensor([len(row) for row in rows])

        def wide(each: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(each, (0, longest - each.shape[-1]))

        batch = {
            "input_ids": wide(pad_sequence(rows, batch_first=True)),
            "attention_mask": (torch.arange(longest) < lengths[:, None]).long(),
        }
        if self.config.noise_size:
            size, durations = self.config.noise_size, self.config.duration_noise
            drawn = [line.drawn(frames, size, durations=durations) for line in lines]
            rates = [getattr(line.how, "speaking_rate", 1.0) for line in lines]
            batch["speaking_rate"] = torch.tensor(rates)
            batch["duration_noise"] = torch.stack([wide(durations) for durations, _ in drawn])
            batch["noise"] = torch.stack([sound for _, sound in drawn])
        if len(self.config.voices) > 1:
            batch["speaker"] = torch.tensor([line.voice for line in lines])
        return batch

    def typical(self, samples: Sequence[Sample[object, Line]]) -> Tensors:
        """All frames, as many as texts of so many tokens often have."""
        longest = max(len(sample.meta.ids) for sample in samples)
        frames = speaking.rounded(longest * USUAL_FRAMES)
        return self._inputs([sample.meta for sample in samples], frames)

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axes of tokens, and of frames."""
        axes: dict[str, tuple[int, ...]] = {"input_ids": (1,), "attention_mask": (1,)}
        return {**axes, "duration_noise": (2,), "noise": (1,)} if self.config.noise_size else axes

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[Speech]:
        """Answer the sound of each text, after the model has made what comes first."""
        waveform, lengths = self._sound(outputs)
        self._check_seconds(lengths)
        found = {
            place: waveform[place, :length]
            for place, length in enumerate(lengths)
            if length <= waveform.shape[1] or not self.config.noise_size
        }
        hop = max(1, waveform.shape[1] // BEGINNING)
        left = [place for place in range(len(samples)) if place not in found]
        most = round(self.config.max_seconds * self.config.sampling_rate / hop)
        needed = {place: -(-lengths[place] // hop) for place in left}
        for together, frames in speaking.plan(needed, most):
            self.check_time()
            again = self._inputs([samples[place].meta for place in together], frames)
            waveform, ends = self._sound(self.inference(again))
            for row, place in enumerate(together):
                found[place] = waveform[row, : ends[row]]
        return [self._speech(found[place]) for place in range(len(samples))]

    def _sound(self, outputs: Tensors) -> tuple[torch.Tensor, list[int]]:
        waveform, lengths, *_ = [*outputs.values(), None, None]
        if (
            waveform is None
            or lengths is None
            or waveform.dim() != 2
            or lengths.shape != waveform.shape[:1]
        ):
            shapes = ", ".join(str(tuple(each.shape)) for each in outputs.values())
            raise ModelError(
                "this archive's model must answer waveforms, (N, S), and how many samples of each "
                f"count, (N,); not {shapes}"
            )
        if not torch.isfinite(waveform).all():
            raise ModelError("the model's samples are not finite", hint="check the input")
        return waveform, [max(0, int(each)) for each in lengths.tolist()]

    def _check_seconds(self, lengths: Sequence[int]) -> None:
        longest = max(lengths) / self.config.sampling_rate
        if longest > self.config.max_seconds:
            raise BadRequest(
                f"the text would be spoken for {longest:.3g} s; at most "
                f"{self.config.max_seconds:g} s are allowed",
                hint=SHORTER,
                status=413,
            )

    def _speech(self, waveform: torch.Tensor) -> Speech:
        samples = np.round(waveform.double().clamp(-1, 1).numpy(), DECIMALS).tolist()
        rate = self.config.sampling_rate
        return Speech(samples, rate, round(len(samples) / rate, MILLISECONDS))

    def example(self) -> tuple[str, bytes]:
        """A sentence."""
        return "text/plain", self._example.encode()

    def instance_schema(self) -> JsonObject:
        """A text."""
        return text.SCHEMA

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be, and how it can be spoken."""
        config = self.config
        return {
            "text": "a string, or UTF-8 bytes",
            "max_tokens": config.max_tokens,
            "max_characters": config.max_characters,
            "max_seconds": config.max_seconds,
            "sampling_rate": config.sampling_rate,
            "voices": [*config.voices],
        }
