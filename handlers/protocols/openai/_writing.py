"""Shared by the routes whose answers are written token by token, at once or in pieces."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from handlers.protocols.openai import (
    COUNT,
    DONE,
    TEXT,
    FieldError,
    Route,
    RouteFields,
    const,
    several,
    shape,
)
from handlers.schema import JsonObject, SchemaError, parse, setting

MAX_STOPS = 4
REASONS = {"time": "length"}
"""OpenAI's words for why a text ended, where they are others: no time was left, it was cut off."""


@dataclass(frozen=True, kw_only=True)
class StreamFields:
    """What `stream_options` may hold."""

    include_usage: bool | None = setting(None, "Whether the last piece has the counts of tokens.")
    include_obfuscation: Literal[False] | None = setting(None, "Nothing is added to pieces.")


@dataclass(frozen=True, kw_only=True)
class WritingFields(RouteFields):
    """What both bodies may hold; a field of one allowed value is for what can't be asked."""

    max_tokens: int | None = setting(None, "The most tokens to write.", minimum=0)
    temperature: float | None = setting(
        None, "0 takes the likeliest token; above it, tokens are drawn.", minimum=0, maximum=2
    )
    top_p: float | None = setting(
        None, "Draw from the likeliest tokens of this probability.", minimum=0, maximum=1
    )
    top_k: int | None = setting(None, "Draw from so many; not OpenAI's, but usual.", minimum=0)
    repetition_penalty: float | None = setting(
        None, "Makes tokens that have come less likely; not OpenAI's, but usual.",
        minimum=0.01, maximum=100,
    )  # fmt: skip
    seed: int | None = setting(
        None, "The same seed draws the same text.", minimum=0, maximum=2**63 - 1
    )
    stop: str | tuple[str, ...] | None = setting(None, "What ends the text.")
    stream: bool | None = setting(None, "Send the text while it is written.")
    stream_options: dict[str, object] | None = setting(None, "See `StreamFields`.")
    n: Literal[1] | None = setting(None, "How many texts.")
    frequency_penalty: Literal[0] | None = setting(None, "None.")
    presence_penalty: Literal[0] | None = setting(None, "None.")
    logit_bias: dict[str, object] | None = setting(None, "None.")


def answer_of(kind: str, **choice: JsonObject) -> JsonObject:
    """The JSON Schema of a whole answer; `choice` is what each text of it has."""
    each = shape(index=COUNT, **choice, logprobs={"type": "null"}, finish_reason=TEXT)
    usage = shape(prompt_tokens=COUNT, completion_tokens=COUNT, total_tokens=COUNT)
    return shape(
        id=TEXT, object=const(kind), created=COUNT, model=TEXT, choices=several(each), usage=usage
    )


class TextRoute(Route):
    """A route whose answer is written token by token.

    Attributes:
        kind: what OpenAI calls a whole answer.
        piece_kind: what it calls a piece of one.
        prefix: what its answers' names begin with.
    """

    needs = ("text", "finish_reason", "tokens", "prompt_tokens")
    kind: str
    piece_kind: str
    prefix: str

    @abstractmethod
    def choice(self, index: int, text: str, reason: str) -> JsonObject:
        """A text, of a whole answer."""

    @abstractmethod
    def piece(self, text: str | None, reason: str | None) -> JsonObject:
        """A piece of a text, or the end of it, for a stream."""

    def beginning(self) -> list[JsonObject]:
        """What a stream begins with, before any text."""
        return []

    def options(self, known: Collection[str]) -> dict[str, object]:
        """What the body says of how to write, in the words of a task with these options."""
        body = self.body
        if body.logit_bias:
            raise FieldError("'logit_bias' is not supported", param="logit_bias")
        stops = (body.stop,) if isinstance(body.stop, str) else body.stop or ()
        if len(stops) > MAX_STOPS:
            raise FieldError(f"'stop' may have at most {MAX_STOPS} strings", param="stop")
        names = ("temperature", "top_p", "top_k", "repetition_penalty", "seed")
        given = {name: getattr(body, name) for name in names}
        given |= {"max_new_tokens": body.max_tokens, "stop": stops or None, "stream": body.stream}
        said = {name: value for name, value in given.items() if value is not None}
        self._begun, self._usage = False, self._includes_usage()
        # OpenAI has no word for a cut prompt.
        return {**said, "truncate": False} if "truncate" in known else said

    def _includes_usage(self) -> bool:
        given = self.body.stream_options
        if given is None:
            return False
        if not self.body.stream:
            raise FieldError("'stream_options' are for a stream", param="stream_options")
        try:
            return bool(parse(StreamFields, given, where="'stream_options'").include_usage)
        except SchemaError as error:
            raise FieldError(str(error), param="stream_options") from None

    def write(self, answers: Sequence[Any]) -> JsonObject:
        """Write a whole answer, with a choice for each instance."""
        choices = [
            self.choice(index, each.text, _reason(each.finish_reason))
            for index, each in enumerate(answers)
        ]
        prompts, tokens = (
            sum(getattr(each, name) for each in answers) for name in ("prompt_tokens", "tokens")
        )
        return {**self._head(self.kind), "choices": choices, "usage": _usage(prompts, tokens)}

    def pieces(self, said: Mapping[str, Any]) -> list[JsonObject | str]:
        """Write a piece: the text, and at the end its reason, the counts, and that it is over."""
        if "error" in said:
            message = f"{said['error']} ({said['hint']})" if said["hint"] else said["error"]
            what = {"message": message, "type": "server_error", "param": None, "code": None}
            return [{"error": what}]
        choices = [] if self._begun else self.beginning()
        self._begun = True
        if said["text"]:
            choices.append(self.piece(said["text"], None))
        last = "finish_reason" in said
        if last:
            choices.append(self.piece(None, _reason(said["finish_reason"])))
        head: JsonObject = self._head(self.piece_kind)
        none = {"usage": None} if self._usage else {}
        found: list[JsonObject | str] = [{**head, "choices": [each], **none} for each in choices]
        if last and self._usage:
            usage = _usage(said["prompt_tokens"], said["tokens"])
            found.append({**head, "choices": [], "usage": usage})
        return [*found, DONE] if last else found

    def _head(self, kind: str) -> dict[str, str | int]:
        return {
            "id": f"{self.prefix}-{self.identity}",
            "object": kind,
            "created": self.created,
            "model": self.model,
        }


def _reason(reason: str) -> str:
    return REASONS.get(reason, reason)


def _usage(prompt: int, written: int) -> JsonObject:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
    }
