"""Text generation: a text in, what follows it out, as a whole or while it is written."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from handlers.errors import BadRequest, LoadError
from handlers.generation import chat, handler, sampling
from handlers.generation.cache import BLOCK, empty, named
from handlers.generation.decoding import CacheShape, Decoder, TokenSequence, inputs, prompts
from handlers.generation.detokenizer import Detokenizer
from handlers.generation.streams import EVENTS, LINES
from handlers.protocols import json_text
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, object_schema, setting
from handlers.task import Sample
from handlers.text import text
from handlers.text.handler import TextHandler

if TYPE_CHECKING:
    from tokenizers import Encoding

MAX_STOPS, MAX_STOP = 8, 64  # strings that end a text, and characters in one


@dataclass(frozen=True, kw_only=True)
class TextGenerationConfig(handler.GenerationConfig, text.TextConfig):
    """The shape of the model's cache, and how long a text may become."""

    max_tokens: int = setting(
        1024, "The most tokens of a prompt and what follows it, together.", minimum=2
    )
    layers: int = setting(0, "The model's layers, each of which has a cache.", minimum=1)
    key_value_heads: int = setting(0, "Heads of keys and values in a layer.", minimum=1)
    head_size: int = setting(0, "Numbers in a key, and in a value.", minimum=1)
    keeps_logits: bool = setting(
        False, "The model takes `logits_to_keep`: the places whose logits it is to answer."
    )
    stop_tokens: tuple[str, ...] = setting((), "Tokens that end a text.")
    chat_template: str = setting(
        "", "A file in the archive: the Jinja template that makes a text of messages."
    )
    special_tokens: dict[str, object] | None = setting(
        None, "The tokens that the template knows by name: bos_token, eos_token and so on."
    )


@dataclass(frozen=True, kw_only=True)
class TextGenerationOptions(sampling.SamplingOptions, text.TextOptions):
    """The options of a request."""

    truncate: bool = setting(
        True, "Cut a prompt of too many tokens at its beginning; otherwise it is refused."
    )
    max_new_tokens: int | None = setting(
        64, "The most tokens to write; 0 for none, null for as many as there is room for.",
        minimum=0,
    )  # fmt: skip
    stop: tuple[str, ...] = setting(
        (), "Strings that end the text, and are not part of it.", max_items=MAX_STOPS
    )
    stream: bool = setting(False, "Send the text piece by piece, while it is written.")
    score: bool = setting(False, "Answer how likely the prompt itself is, too.")


@dataclass(frozen=True)
class Generation(handler.Written):
    """What follows a text, and how it was written.

    Attributes:
        text: what was written.
        finish_reason: why it ended there: "stop", "length" or "time".
        tokens: how many tokens were written, including one that ends the text.
        prompt_tokens: how many tokens the model was given.
        truncated: whether the text had more.
    """

    finish_reason: str
    tokens: int
    prompt_tokens: int
    truncated: bool

    @classmethod
    def schema(cls) -> JsonObject:
        """An object; it has `log_likelihood` where a score was asked for."""
        likelihood: JsonObject = {
            "type": "number",
            "maximum": 0,
            "description": "The mean over the prompt's tokens but the first, in nats.",
        }
        return object_schema(Generation.field_schemas(), {"log_likelihood": likelihood})


@dataclass(frozen=True)
class Scored(Generation):
    """A generation, and the mean log-likelihood of its prompt's tokens but the first."""

    log_likelihood: float


@dataclass(frozen=True)
class Prompt:
    """The tokens of a text, and whether it was cut."""

    ids: list[int]
    truncated: bool


_Sample = Sample[TextGenerationOptions, Prompt]


class TextGeneration(
    handler.GenerationHandler[TextGenerationConfig, TextGenerationOptions, Prompt],
    TextHandler[TextGenerationConfig, TextGenerationOptions, Prompt],
):
    """Writes what follows a text, with a causal language model; see `decoding` for its inputs.

    An instance is a string, or bytes of UTF-8; where there is a chat template, also an object of
    `messages`, each with a `role` and its `content`. A request that streams is answered in lines of
    JSON, each with a piece of `text`; the last has the rest of the answer, or an error. A client
    that accepts text/event-stream gets server-sent events.
    """

    Config = TextGenerationConfig
    Options = TextGenerationOptions
    Answer = Generation

    def setup(self, folder: Path) -> None:
        """Read the tokenizer; check that the shape of the model's cache is known."""
        super().setup(folder)
        config = self.config
        if not (config.layers and config.key_value_heads and config.head_size):
            raise LoadError("'layers', 'key_value_heads' and 'head_size' must be the model's")
        self.shape = CacheShape(config.layers, config.key_value_heads, config.head_size)
        self.tokenizer = self.encoder.tokenizer
        self.ends: set[int] = set()
        for token in config.stop_tokens:
            number = self.tokenizer.token_to_id(token)
            if number is None:
                raise LoadError(f"{token!r} in 'stop_tokens' is not a token of the tokenizer")
            self.ends.add(number)
        self.chat: chat.ChatTemplate | None = None
        if config.chat_template:
            self.chat = chat.read(folder / config.chat_template, config.special_tokens or {})

    def decode(self, instance: object, options: TextGenerationOptions) -> _Sample:
        """Convert a text to its tokens."""
        if any(not 1 <= len(stop) <= MAX_STOP for stop in options.stop):
            raise BadRequest(f"a string in 'stop' must have 1 to {MAX_STOP} characters", status=422)
        talk = isinstance(instance, Mapping)
        encoding = self._encode(instance)
        ids: list[int] = encoding.ids
        if not ids:
            raise BadRequest("the text has no tokens in it", status=422)
        context = self.config.max_tokens
        # The tokens that follow get at most half of the room, if they need it.
        most = options.max_new_tokens
        room = context - (1 if most is None else min(most, context // 2))
        cut = len(ids) > room
        if cut and (talk or not options.truncate):  # a template's beginning can't be left out
            raise BadRequest(
                f"the text has {len(ids)} tokens; {room} are allowed before what follows",
                hint="send less" if talk else "send less, or allow 'truncate'",
                status=422,
            )
        if cut:
            begin = next((i for i, s in enumerate(encoding.special_tokens_mask) if not s), 0)
            begin = min(begin, room - 1)
            ids = ids[:begin] + ids[len(ids) - room + begin :]
        return Sample({}, options, Prompt(ids, cut))

    def _encode(self, instance: object) -> Encoding:
        if not isinstance(instance, Mapping):
            return self.tokenizer.encode(text.read(instance))
        if self.chat is None:
            raise BadRequest(
                "this model has no chat template, so it takes no messages",
                hint="send a text",
                status=422,
            )
        said = self.chat.render(chat.messages_of(instance))
        # A template writes the token that texts begin with itself.
        return self.tokenizer.encode(text.read(said), add_special_tokens=False)

    def sequence(self, sample: _Sample) -> TokenSequence:
        """The sequence that is to be written for a text."""
        options, prompt = sample.options, sample.meta
        room = self.config.max_tokens - len(prompt.ids)
        return TokenSequence(
            prompt.ids,
            options,
            limit=room if options.max_new_tokens is None else min(options.max_new_tokens, room),
            detokenizer=Detokenizer(self.tokenizer, prompt.ids, options.stop),
            score=options.score,
            truncated=prompt.truncated,
            seconds=self.config.max_seconds,
        )

    def written(self, sequence: TokenSequence) -> Generation:
        """The answer to a sequence that has ended."""
        tokens, prompt_tokens = len(sequence.made), len(sequence.prompt)
        reason = sequence.reason or "stop"
        said = (sequence.text, reason, tokens, prompt_tokens, sequence.truncated)
        if not sequence.score:
            return Generation(*said)
        return Scored(*said, sequence.log_likelihood / max(1, prompt_tokens - 1))

    def decoder(self, slots: int) -> Decoder:
        """A decoder that writes sequences with the model."""
        keeps = self.config.keeps_logits
        return Decoder(self.inference, self.shape, slots, self.ends, self.device, keeps=keeps)

    def group_key(self, sample: Sample[object, Prompt]) -> Hashable:
        """Let texts of all lengths be written together."""
        return None

    def collate(self, samples: Sequence[Sample[object, Prompt]]) -> Tensors:
        """Combine the beginnings of prompts; `answer` runs the model on the rest."""
        ids = [sample.meta.ids for sample in samples]
        return prompts(ids, self.shape, self.device, keeps=self.config.keeps_logits)

    def typical(self, samples: Sequence[_Sample]) -> Tensors:
        """One token each, with a cache of a block: most of the time is spent on that."""
        shape, count = self.shape, len(samples)
        past = empty(count, shape.layers, shape.heads, shape.size, BLOCK, device=self.device)
        following, keep = [sample.meta.ids[:1] for sample in samples], [[0]] * count
        return inputs(following, [BLOCK] * count, past, keep if self.config.keeps_logits else None)

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axes of new tokens, of logits that are kept, and of the cache's room for tokens."""
        cache = named(empty(1, self.shape.layers, 1, 1))
        kept = {"logits_to_keep": (1,)} if self.config.keeps_logits else {}
        return {"input_ids": (1,), **kept, **dict.fromkeys(cache, (2,))}

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[Generation]:
        """Write what follows each text, after the model has run on the prompts' beginnings."""
        sequences = [self.sequence(sample) for sample in samples]
        decoder = self.decoder(len(sequences))
        decoder.first(sequences, outputs)
        while decoder.busy:
            decoder.step()
        for sequence in sequences:
            if sequence.error:
                raise sequence.error
        return [self.written(sequence) for sequence in sequences]

    def example(self) -> tuple[str, bytes]:
        """The beginning of a sentence, to be followed by a few of the likeliest tokens."""
        wanted = {"max_new_tokens": 8, "temperature": 0.0, "repetition_penalty": 1.0}
        return json_text.JSON, json_text.dump({"data": "import this", "parameters": wanted})

    def instance_schema(self) -> JsonObject:
        """A text, or a conversation where the model has learnt some."""
        return text.SCHEMA if self.chat is None else {"anyOf": [text.SCHEMA, chat.SCHEMA]}

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be."""
        described = {**super().describe_input(), "streams": {"media_types": [LINES, EVENTS]}}
        messages = {"messages": [{"role": "user", "content": "..."}]}
        return described if self.chat is None else {**described, "chat": messages}
