"""Speech to text: sound in, its words out, or their translation, written by an encoder–decoder."""

from __future__ import annotations

import base64
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from handlers.errors import BadRequest, LoadError
from handlers.generation import handler
from handlers.generation.decoding import TokenSequence
from handlers.generation.detokenizer import Detokenizer
from handlers.generation.rules import Rules
from handlers.generation.sourced import WritingOptions, beginnings, sequence
from handlers.generation.sourced_handler import SourcedConfig, SourcedHandler
from handlers.generation.streams import EVENTS, LINES
from handlers.protocols import json_text
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, setting, unknown
from handlers.speech import recordings
from handlers.speech.log_mel import LogMel
from handlers.speech.timestamps import Stamps
from handlers.speech.transcribing import Introduction, Listening, Segment, Spectra, SpeechSequence
from handlers.task import Sample
from handlers.text import tokens

MILLISECONDS = 3  # decimals of seconds


@dataclass(frozen=True, kw_only=True)
class SpeechToTextConfig(SourcedConfig):
    """How sound becomes the model's input, and what its tokens mean."""

    tokenizer: str = setting(
        "tokenizer.json", "A file in the archive, as the tokenizers library writes it."
    )
    sample_rate: int = setting(
        16_000, "The model's samples per second.",
        minimum=recordings.RATES[0], maximum=recordings.RATES[1],
    )  # fmt: skip
    bands: int = setting(80, "Bands of frequencies in a frame.", minimum=1)
    fft: int = setting(400, "Samples of a frame's Fourier transform.", minimum=2)
    hop: int = setting(160, "Samples from one frame to the next.", minimum=1)
    window_frames: int = setting(3000, "Frames that the encoder reads at once.", minimum=2)
    stride: int = setting(2, "Frames that the encoder makes one of.", minimum=1)
    max_recording_seconds: float = setting(
        600.0, "The most of a request's recordings together.", minimum=1
    )
    languages: dict[str, object] | None = setting(
        None, "Tokens of languages, by the names that `language` may have."
    )
    tasks: dict[str, object] | None = setting(
        None, "Tokens of what `task` may be: transcribe, translate."
    )
    forced_tokens: tuple[str, ...] = setting(
        (), "Tokens behind the first, where neither language nor task is said; '' is the language."
    )
    no_timestamps_token: str = setting(
        "", "The token that says that there are no time stamps; all tokens behind it are stamps."
    )
    timestamp_seconds: float = setting(0.02, "From one time stamp to the next.", minimum=0.001)
    max_first_timestamp: int | None = setting(
        None, "The latest time stamp that a window begins with, counted from 0.", minimum=0
    )
    previous_token: str = setting("", "The token before what was said before: before a `prompt`.")


@dataclass(frozen=True, kw_only=True)
class SpeechToTextOptions(WritingOptions):
    """The options of a request."""

    language: str = setting("", "The language that is spoken; by default the model finds it.")
    task: Literal["transcribe", "translate"] | None = setting(
        None, "Write what is said, or its translation to English; by default the model's own."
    )
    timestamps: bool = setting(False, "Say when each segment was said.")
    prompt: str = setting("", "What was said before, or how words are written.")
    max_new_tokens: int | None = setting(
        None, "The most tokens of a window; null for as many as there is room for.", minimum=0
    )
    stream: bool = setting(False, "Send the text piece by piece, while it is written.")
    sample_rate: int | None = setting(
        None, "The rate of samples sent as numbers; by default the model's. Files have their own.",
        minimum=recordings.RATES[0], maximum=recordings.RATES[1],
    )  # fmt: skip


@dataclass(frozen=True)
class Transcription(handler.Written):
    """What was written of a recording, and how.

    Attributes:
        text: what was written.
        segments: if they were asked for: `start` and `end` in seconds, and `text`.
        language: the language that was said or found; None where the model has none.
        seconds: how long the recording lasts.
        finish_reason: why it ended there: "stop", "length" or "time".
        tokens: how many tokens were written, including those that end a text.
    """

    segments: list[dict[str, str | float]]
    language: str | None
    seconds: float
    finish_reason: str
    tokens: int


@dataclass(frozen=True)
class RecordedFrames:
    """A recording's frames, (bands, F) float32, its length, and what its text begins with."""

    frames: torch.Tensor
    seconds: float
    introduction: Introduction


_Sample = Sample[SpeechToTextOptions, RecordedFrames]


class SpeechToText(SourcedHandler[SpeechToTextConfig, SpeechToTextOptions, RecordedFrames]):
    """Writes what is said in recordings; see `speech.recordings` for what an instance may be.

    The model is called as `generation.sourced` says, with frames as its source:

        source_features       (N, B, F) float32    log-mel frames of a window, or fewer of no worth
        source_tokens         (N,) int64           what the encoder makes of them; 0 for none

    A longer recording is written window after window: each begins at the last time stamp of the
    one before.
    """

    Config = SpeechToTextConfig
    Options = SpeechToTextOptions
    Answer = Transcription

    def setup(self, folder: Path) -> None:
        """Read the tokenizer; find the tokens that the settings name."""
        config = self.config
        recordings.engines()
        self.spectra = Spectra(config.bands, config.window_frames, config.stride)
        self.prepare(tokens.load(folder / config.tokenizer), self.spectra)
        self.mel = LogMel(config.sample_rate, config.bands, config.fft, config.hop)
        self.rules = Rules(
            self.numbers(config.stop_tokens),
            suppressed=self.numbers(config.suppressed_tokens),
            suppressed_first=self.numbers(config.suppressed_first),
        )
        self.languages = self._named(config.languages)
        self.tasks = self._named(config.tasks)
        self.forced = [self.number(name) if name else None for name in config.forced_tokens]
        self.previous = self.number(config.previous_token) if config.previous_token else None
        self.stamps = self._stamps()
        self._introduction(self.default_options, True)

    def _named(self, said: dict[str, object] | None) -> dict[str, int]:
        return {name: self.number(str(token)) for name, token in (said or {}).items()}

    def _stamps(self) -> Stamps | None:
        config = self.config
        if not config.no_timestamps_token:
            return None
        if len(self.rules.ends) != 1:
            raise LoadError("with time stamps, 'stop_tokens' must be one token")
        (end,) = self.rules.ends
        none = self.number(config.no_timestamps_token)
        return Stamps(none, end, config.max_first_timestamp, config.timestamp_seconds)

    def screen(self, instances: Sequence[object]) -> None:
        """Refuse a request whose recordings last more than `max_recording_seconds` together."""
        if len(instances) > 1:
            limit = self.config.max_recording_seconds
            recordings.check_together(instances, self.config.sample_rate, max_seconds=limit)

    def decode(self, instance: object, options: SpeechToTextOptions) -> _Sample:
        """Convert a recording to frames; one of less than a window is silent behind its end."""
        config = self.config
        recording = recordings.read(
            instance, config.sample_rate, array_rate=options.sample_rate,
            max_seconds=config.max_recording_seconds,
        )  # fmt: skip
        samples = torch.from_numpy(recording.samples)
        missing = config.window_frames * config.hop - len(samples)
        frames = self.mel(torch.nn.functional.pad(samples, (0, max(0, missing))))
        introduction = self._introduction(options, self._is_timed(frames, options))
        return Sample({}, options, RecordedFrames(frames, recording.seconds, introduction))

    def _is_timed(self, frames: torch.Tensor, options: SpeechToTextOptions) -> bool:
        """Whether time stamps are written: without them it isn't known where a window ends."""
        if options.timestamps and self.stamps is None:
            raise BadRequest("this model has no time stamps", status=422)
        is_long = frames.shape[1] > self.config.window_frames
        return self.stamps is not None and (options.timestamps or is_long)

    def _introduction(self, options: SpeechToTextOptions, timed: bool) -> Introduction:
        """The tokens that a request's text begins with, as transformers' `generate` makes them.

        Raises:
            BadRequest: the model has no such language, or task.
        """
        language, forced = self._language(options), [] if options.language else self.forced
        if options.task:
            if options.task not in self.tasks:
                raise BadRequest(unknown(options.task, [*self.tasks], "'task'"), status=422)
            after = [self.tasks[options.task]]
        elif options.language:
            after = [self.tasks["transcribe"]] if "transcribe" in self.tasks else []
        else:
            language = forced[0] if forced else None
            after = [each for each in forced[1:] if each is not None]
        found = sorted({*self.languages.values()}) if language is None else []
        if self.stamps and not timed and after[-1:] != [self.stamps.none]:
            after.append(self.stamps.none)
        elif self.stamps and timed and after[-1:] == [self.stamps.none]:
            after.pop()
        return Introduction(self._before(options.prompt), self.start[0], language, found, after)

    def _language(self, options: SpeechToTextOptions) -> int | None:
        """The token of the language that a request says, by its name, code or token."""
        wanted = options.language.strip().lower()
        if not wanted:
            return None
        token = self.languages.get(wanted)
        if token is None:
            codes = {self._code(number): number for number in self.languages.values()}
            token = codes.get(wanted.removeprefix("<|").removesuffix("|>"))
        if token is None:
            raise BadRequest(unknown(wanted, [*self.languages], "'language'"), status=422)
        return token

    def _code(self, language: int) -> str:
        return str(self.tokenizer.id_to_token(language)).removeprefix("<|").removesuffix("|>")

    def _before(self, prompt: str) -> list[int]:
        """The tokens of what was said before: the last of them, where they are many."""
        if not prompt.strip():
            return []
        if self.previous is None:
            raise BadRequest("this model takes no 'prompt'", status=422)
        special = self.tokenizer.get_added_tokens_decoder().values()
        if any(token.special and token.content in prompt for token in special):
            raise BadRequest("the 'prompt' has special tokens in it", status=422)
        ids: list[int] = self.tokenizer.encode(f" {prompt.strip()}", add_special_tokens=False).ids
        most = self.config.max_target_tokens // 2 - 1
        return [self.previous, *ids[-(most - 1) :]] if most > 1 else []

    def sequence(self, sample: _Sample) -> SpeechSequence:
        """The sequence that is to be written of a recording."""
        options, heard, config = sample.options, sample.meta, self.config
        listening = Listening(
            heard.frames, self.spectra, heard.introduction, self.stamps,
            self._is_timed(heard.frames, options), config.hop / config.sample_rate, heard.seconds,
            config.max_target_tokens, options.max_new_tokens, self.tokenizer,
        )  # fmt: skip
        prompt = heard.introduction.first()
        return sequence(
            SpeechSequence,
            prompt,
            self.spectra.cut(heard.frames, 0),
            options,
            listening.limit(prompt),
            self.rules,
            Detokenizer(self.tokenizer, [], ()),
            seconds=config.max_seconds,
            listening=listening,
        )

    def written(self, sequence: TokenSequence) -> Transcription:
        """The answer to a sequence that has ended."""
        assert isinstance(sequence, SpeechSequence)  # noqa: S101 - `sequence` makes no others
        assert sequence.listening is not None  # noqa: S101 - as above
        duration, language = sequence.listening.duration, sequence.language

        def timed(segment: Segment) -> dict[str, str | float]:
            start, end = (
                round(min(each, duration), MILLISECONDS) for each in (segment.start, segment.end)
            )
            return {"start": start, "end": end, "text": segment.text}

        asked = isinstance(sequence.asked, SpeechToTextOptions) and sequence.asked.timestamps
        return Transcription(
            sequence.text.rstrip(),
            [timed(each) for each in sequence.segments if each.text] if asked else [],
            None if language is None else self._code(language),
            round(duration, MILLISECONDS),
            sequence.reason or "stop",
            sequence.count,
        )

    def group_key(self, sample: Sample[object, RecordedFrames]) -> Hashable:
        """Let all recordings share a batch: their windows have one length."""
        return ""

    def collate(self, samples: Sequence[Sample[object, RecordedFrames]]) -> Tensors:
        """Combine first windows, and what each text begins with; `answer` writes on."""
        begun = [sample.meta.introduction.first() for sample in samples]
        read = [self.spectra.cut(sample.meta.frames, 0) for sample in samples]
        return beginnings(begun, read, self.shape, self.sources, self.device)

    def example(self) -> tuple[str, bytes]:
        """A second of a rising tone, of which a few of the likeliest tokens are written."""
        sound = base64.b64encode(recordings.tone(self.config.sample_rate)).decode("ascii")
        wanted = {"max_new_tokens": 8, "temperature": 0.0, "num_beams": 1, "min_new_tokens": 0}
        return json_text.JSON, json_text.dump({"data": sound, "parameters": wanted})

    def instance_schema(self) -> JsonObject:
        """A file in base64, or samples."""
        return recordings.SCHEMA

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be."""
        return {
            **recordings.described(self.config.sample_rate, self.config.max_recording_seconds),
            "languages": [*self.languages],
            "tasks": [*self.tasks],
            "streams": {"media_types": [LINES, EVENTS]},
        }
