"""Write what is said in a recording: window after window, each from where the last one ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from handlers.errors import ModelError
from handlers.generation import sampling
from handlers.generation.beams import BeamSearch
from handlers.generation.detokenizer import Detokenizer
from handlers.generation.sourced import SourcedSequence, Sources
from handlers.runtimes import Tensors
from handlers.speech.timestamps import Cuts, Stamps, Stretch

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Spectrum:
    """Frames that the encoder reads at once.

    Attributes:
        frames: (bands, F) float32.
        stride: how many frames the encoder makes one of.
    """

    frames: torch.Tensor
    stride: int

    def __len__(self) -> int:
        return -(-self.frames.shape[1] // self.stride)


@dataclass(frozen=True)
class Spectra(Sources):
    """Sources that are windows of frames, all of one length.

    Attributes:
        bands: how many numbers a frame has.
        window: how many frames a window has.
        stride: how many frames the encoder makes one of.
    """

    varying = {"source_features": (2,)}

    bands: int
    window: int
    stride: int

    @property
    def usual(self) -> int:
        """What the encoder makes of a window."""
        return -(-self.window // self.stride)

    def batch(self, read: Sequence[Spectrum | None]) -> Tensors:
        """`source_features`, (N, bands, F) float32: windows, or of each as little as there can be.

        With them `source_tokens`, (N,) int64.
        """
        size = self.stride if all(each is None for each in read) else self.window
        features = torch.zeros(len(read), self.bands, size)
        for row, each in enumerate(read):
            if each is not None:
                features[row] = each.frames
        counts = [0 if each is None else len(each) for each in read]
        return {"source_features": features, "source_tokens": torch.tensor(counts)}

    def cut(self, frames: torch.Tensor, start: int) -> Spectrum:
        """The window of (bands, F) frames that begins with one of them; behind the last, zeros."""
        found = frames[:, start : start + self.window]
        missing = self.window - found.shape[1]
        return Spectrum(torch.nn.functional.pad(found, (0, missing)), self.stride)


@dataclass(frozen=True)
class Introduction:
    """The tokens that the writing of a window begins with.

    Attributes:
        before: what was said before, as far as the request says it.
        start: the token that begins a window.
        language: the token of the language; None where there is none, or it is to be found.
        detected: tokens of languages, of which the likeliest is taken; none where it is known.
        after: the tokens behind it.
    """

    before: Sequence[int]
    start: int
    language: int | None
    detected: Sequence[int]
    after: Sequence[int]

    def first(self) -> list[int]:
        """The tokens of the first pass."""
        return [self.start] if self.detected else self.whole(self.language)

    def whole(self, language: int | None) -> list[int]:
        """All tokens, in a language."""
        spoken = [] if language is None else [language]
        return [*self.before, self.start, *spoken, *self.after]


@dataclass(frozen=True)
class Segment:
    """What is said in a part of a recording.

    Attributes:
        start: seconds from the recording's beginning.
        end: seconds from there, too.
        text: what is said.
    """

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Listening:
    """How a recording becomes windows, and what is written of it segments.

    Attributes:
        frames: (bands, F) float32, of all of the recording.
        sources: how it is cut.
        introduction: what every window begins with.
        stamps: the model's time stamps; None where it has none.
        timed: whether they are written.
        seconds: from one frame to the next.
        duration: of the recording, in seconds.
        most: the most tokens of a window, with those that it begins with.
        wanted: the most tokens to write of a window; None for as many as there is room for.
        tokenizer: turns the tokens of a segment into text.
    """

    frames: torch.Tensor
    sources: Spectra
    introduction: Introduction
    stamps: Stamps | None
    timed: bool
    seconds: float
    duration: float
    most: int
    wanted: int | None
    tokenizer: Tokenizer

    def limit(self, prompt: Sequence[int]) -> int:
        """The most tokens to write behind others."""
        room = self.most - len(prompt)
        return room if self.wanted is None else min(room, self.wanted)

    def cut(self, made: Sequence[int], frames: int) -> Cuts:
        """Cut what was written of a window with so many frames of the recording."""
        if self.stamps is None:
            return Cuts([Stretch(0.0, frames * self.seconds, list(made))], frames)
        return self.stamps.cut(made, frames, self.sources.stride, self.seconds)

    def spoken(self, tokens: Sequence[int]) -> list[int]:
        """Tokens without time stamps."""
        return [each for each in tokens if self.stamps is None or each < self.stamps.first]

    def text(self, tokens: Sequence[int]) -> str:
        """The text of some tokens."""
        return str(self.tokenizer.decode(self.spoken(tokens), skip_special_tokens=True)).strip()


@dataclass(eq=False)
class SpeechSequence(SourcedSequence):
    """What is written of a recording, or one of the beams of it.

    `made`, `prompt`, `source` and `search` are those of the window that it has come to.

    Attributes:
        listening: the recording, and how it is written.
        at: the frame at which the window begins.
        language: the token of the language, if it has one.
        kept: the tokens of all windows that count, with their time stamps.
        count: how many tokens have been written in all windows.
        segments: what they say.
    """

    listening: Listening | None = None
    at: int = 0
    language: int | None = None
    kept: list[int] = field(default_factory=list)
    count: int = 0
    segments: list[Segment] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.options = replace(self.options, repetition_penalty=1.0)  # see `allowed`
        self._shown = 0  # tokens of this window that are in the text already
        self._held = self._how.timed
        self._shortened = False
        self.language = self._how.introduction.language

    @property
    def _how(self) -> Listening:
        assert self.listening is not None  # noqa: S101 - the fields before it have defaults
        return self.listening

    def take(self, logits: torch.Tensor, ends: Collection[int]) -> None:
        """Find the language, if it is to be found; then choose the next token."""
        languages = self._how.introduction.detected
        if self.language is not None or not languages:
            return super().take(logits, ends)
        scores = logits[list(languages)]
        if scores.isnan().any():
            raise ModelError("the model's logits are not finite", hint="check the input")
        self.language = languages[int(scores.argmax())]
        return self._introduce(0 if self._how.introduction.before else self.cached)

    def allowed(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (V,), minus infinity where a token must not come next."""
        penalty = self.asked.repetition_penalty
        if penalty != 1 and not self.search:  # before time stamps are weighed against words
            logits = sampling.penalised(logits, {*self.prompt, *self.made}, penalty)
        scores, how = super().allowed(logits), self._how
        return how.stamps.apply(scores, self.made) if how.timed and how.stamps else scores

    def write(self, token: int) -> None:
        """Add a token to the text, if it can't be cut off any more: time stamps may do that."""
        stamps = self._how.stamps
        self._held = self._held or (stamps is not None and token >= stamps.first)
        if not self._held:
            self._shown += 1
            self._add(token)

    def _add(self, token: int) -> None:
        piece = self.detokenizer.add(token)
        self.text += piece if self.text else piece.lstrip()

    def expire(self) -> None:
        """Stop for lack of time; what has been written counts."""
        if self.at:
            self.end("time")
        else:
            super().expire()

    def close(self, reason: str) -> None:
        """Keep what counts of the window, and go on with the next, if there is one."""
        if self.done:
            return
        how = self._how
        made = self.made[:-1] if self.made and self.made[-1] in self.rules.ends else self.made
        left = how.frames.shape[1] - self.at
        cuts = how.cut(made, min(left, how.sources.window))
        tokens = [token for stretch in cuts.stretches for token in stretch.tokens]
        for token in tokens[self._shown :]:
            if how.spoken([token]):
                self._add(token)
            else:  # no character goes on behind a time stamp
                self.text += self.detokenizer.finish()
                self.detokenizer = Detokenizer(how.tokenizer, (), ())
        begin = self.at * how.seconds
        self.segments += [
            Segment(begin + stretch.start, begin + stretch.end, how.text(stretch.tokens))
            for stretch in cuts.stretches
            if stretch.tokens
        ]
        self.kept += tokens
        self.count += len(self.made)
        self._shortened = self._shortened or reason == "length"
        self.at += cuts.frames if cuts.frames > 0 else min(left, how.sources.window)
        if reason == "time" or self.at >= how.frames.shape[1]:
            super().close("length" if self._shortened and reason == "stop" else reason)
            return
        self.source = how.sources.cut(how.frames, self.at)
        self._introduce(0)

    def _introduce(self, cached: int) -> None:
        """Begin a window, of whose introduction the model has seen so many tokens."""
        how = self._how
        prompt = how.introduction.whole(self.language)
        limit = how.limit(prompt)
        search = BeamSearch(self.asked, limit, self.rules.ends) if self.search else None
        texts = [self, *(each for each in self.beams if isinstance(each, SpeechSequence))]
        for each in texts:
            each.prompt, each.made, each.cached, each.limit = prompt, [], cached, limit
            each.source, each.search, each.found = self.source, search, None
            each._seen, each.language = set(prompt), self.language
        self._shown, self._held = 0, how.timed
