"""Text to text: a text in, one written from it out: a summary, a translation, an answer."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from handlers.errors import BadRequest
from handlers.generation import handler
from handlers.generation.decoding import TokenSequence
from handlers.generation.detokenizer import Detokenizer
from handlers.generation.rules import Rules
from handlers.generation.sourced import (
    SourcedSequence,
    TokenSources,
    WritingOptions,
    beginnings,
    sequence,
)
from handlers.generation.sourced_handler import SourcedConfig, SourcedHandler
from handlers.generation.streams import EVENTS, LINES
from handlers.protocols import json_text
from handlers.runtimes import Tensors
from handlers.schema import setting, unknown
from handlers.task import Sample, similar_length
from handlers.text import text
from handlers.text.handler import TextHandler
from handlers.text.tokens import Encoder


@dataclass(frozen=True, kw_only=True)
class TextToTextConfig(SourcedConfig, text.TextConfig):
    """Which tokens texts have at their ends, and which languages there are."""

    source_tokenizer: str = setting(
        "", "A file that splits what is read, into tokens that 'tokenizer' numbers by their names."
    )
    first_token: str = setting("", "The token that every text begins with, if there is one.")
    last_tokens: tuple[str, ...] = setting(
        (), "Tokens of which a text that reaches `max_new_tokens` has one at its end."
    )
    languages: tuple[str, ...] = setting(
        (), "Tokens that a text may begin with: what `target_language` may be."
    )


@dataclass(frozen=True, kw_only=True)
class TextToTextOptions(WritingOptions, text.TextOptions):
    """The options of a request."""

    max_new_tokens: int = setting(
        64, "The most tokens to write, including one that ends the text; 0 for none.", minimum=0
    )
    prefix: str = setting("", "What to put before the text, such as 'summarize: '.")
    target_language: str = setting("", "The language to write in; one of the model's own names.")
    stream: bool = setting(False, "Send the text piece by piece, while it is written.")


@dataclass(frozen=True)
class Writing(handler.Written):
    """What was written from a text, and how.

    Attributes:
        text: what was written.
        finish_reason: why it ended there: "stop", "length" or "time".
        tokens: how many tokens were written, including one that ends the text.
        source_tokens: how many tokens the model was given.
        truncated: whether the text had more.
    """

    finish_reason: str
    tokens: int
    source_tokens: int
    truncated: bool


@dataclass(frozen=True)
class ReadText:
    """The tokens of a text, and whether it was cut."""

    ids: list[int]
    truncated: bool


_Sample = Sample[TextToTextOptions, ReadText]


class TextToText(
    SourcedHandler[TextToTextConfig, TextToTextOptions, ReadText],
    TextHandler[TextToTextConfig, TextToTextOptions, ReadText],
):
    """Writes a text from another, with an encoder–decoder; see `sourced` for its inputs.

    An instance is a string, or bytes of UTF-8. Requests that stream are answered as those of
    `text_generation` are; a search of several beams knows its text at the end.
    """

    Config = TextToTextConfig
    Options = TextToTextOptions
    Answer = Writing

    def setup(self, folder: Path) -> None:
        """Read the tokenizers; find the tokens that the settings name."""
        super().setup(folder)
        config = self.config
        if config.source_tokenizer:
            path = folder / config.source_tokenizer
            self.encoder = Encoder(path, config, self.encoder.tokenizer)
        self.prepare(self.encoder.names, TokenSources(config.max_tokens, self.encoder.pad_id))
        first = self.number(config.first_token) if config.first_token else None
        self.rules = Rules(
            self.numbers(config.stop_tokens), first, self.numbers(config.last_tokens),
            self.numbers(config.suppressed_tokens), self.numbers(config.suppressed_first),
        )  # fmt: skip
        self.languages = {name: self.number(name) for name in config.languages}
        self._language(self.default_options)

    def _language(self, options: TextToTextOptions) -> int | None:
        """The token that a request's text begins with."""
        wanted = options.target_language
        if not wanted:
            return self.rules.first
        if wanted not in self.languages:
            known = list(self.languages)
            raise BadRequest(unknown(wanted, known, "'target_language'"), status=422)
        return self.languages[wanted]

    def decode(self, instance: object, options: TextToTextOptions) -> _Sample:
        """Convert a text to its tokens."""
        self._language(options)
        encoded = self.encoder.encode(
            options.prefix + text.read(instance), truncate=options.truncate
        )
        ids: list[int] = encoded.tensors["input_ids"].tolist()
        return Sample({}, options, ReadText(ids, encoded.tokens.truncated))

    def sequence(self, sample: _Sample) -> SourcedSequence:
        """The sequence that is to be written from a text."""
        options, source, rules = sample.options, sample.meta, self.rules
        first = self._language(options)
        return sequence(
            SourcedSequence,
            self.start,
            source.ids,
            options,
            min(options.max_new_tokens, self.config.max_target_tokens - len(self.start)),
            Rules(rules.ends, first, rules.last, rules.suppressed, rules.suppressed_first),
            Detokenizer(self.tokenizer, self.start, ()),
            truncated=source.truncated,
            seconds=self.config.max_seconds,
        )

    def written(self, sequence: TokenSequence) -> Writing:
        """The answer to a sequence that has ended."""
        read = len(sequence.source) if isinstance(sequence, SourcedSequence) else 0
        reason = sequence.reason or "stop"
        return Writing(sequence.text, reason, len(sequence.made), read, sequence.truncated)

    def group_key(self, sample: Sample[object, ReadText]) -> Hashable:
        """Let texts of similar length share a batch: padding costs time, too."""
        return similar_length(len(sample.meta.ids))

    def collate(self, samples: Sequence[Sample[object, ReadText]]) -> Tensors:
        """Combine sources, and what each text begins with; `answer` writes on."""
        read = [sample.meta.ids for sample in samples]
        return beginnings([self.start] * len(read), read, self.shape, self.sources, self.device)

    def example(self) -> tuple[str, bytes]:
        """A sentence, from which a few of the likeliest tokens are written."""
        wanted = {"max_new_tokens": 8, "temperature": 0.0, "num_beams": 1, "min_new_tokens": 0}
        return json_text.JSON, json_text.dump(
            {"data": "A model is only as useful as the people who can ask it something.",
             "parameters": wanted}
        )  # fmt: skip

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be."""
        streams = {"media_types": [LINES, EVENTS]}
        return {**super().describe_input(), "streams": streams, "languages": [*self.languages]}
