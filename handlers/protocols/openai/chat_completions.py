"""`v1/chat/completions`: the next message of a conversation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from handlers.protocols.openai import TEXT, Asked, FieldError, const, several, shape
from handlers.protocols.openai._writing import TextRoute, WritingFields, answer_of
from handlers.schema import JsonObject, kind, setting

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, kw_only=True)
class ChatFields(WritingFields):
    """What a body may hold; a field of one allowed value is for what can't be asked."""

    messages: tuple[dict[str, object], ...] = setting((), "What has been said, oldest first.")
    max_completion_tokens: int | None = setting(None, "The most tokens to write.", minimum=0)
    logprobs: Literal[False] | None = setting(None, "None.")
    response_format: dict[str, object] | None = setting(None, '{"type": "text"}, the default.')
    modalities: tuple[Literal["text"], ...] | None = setting(None, "Text.")
    tools: tuple[object, ...] | None = setting(None, "None.", max_items=0)
    tool_choice: Literal["none", "auto"] | None = setting(None, "There are no tools.")
    metadata: dict[str, object] | None = setting(None, "Changes nothing; nothing is stored.")
    store: Literal[False] | None = setting(None, "Nothing is stored.")
    safety_identifier: str | None = setting(None, "Who asks; changes nothing.")
    prompt_cache_key: str | None = setting(None, "Changes nothing.")


class ChatCompletions(TextRoute):
    """Writes the next message; the model's own template makes a text of those before it."""

    Fields = ChatFields
    kind, piece_kind = "chat.completion", "chat.completion.chunk"
    prefix = "chatcmpl"
    typed = {
        "messages": {
            **several(shape(role={"type": "string", "enum": list(ROLES)}, content=TEXT)),
            "minItems": 1,
        }
    }
    answer = answer_of(
        kind, message=shape(role=const("assistant"), content=TEXT, refusal={"type": "null"})
    )

    def asked(self, known: Collection[str]) -> Asked:
        """The conversation, an instance of a task that takes `messages`."""
        body, options = self.body, self.options(known)
        if not body.messages:
            raise FieldError("the request has no 'messages'", param="messages")
        if body.response_format not in (None, {"type": "text"}):
            hint = 'send {"type": "text"}, or nothing'
            raise FieldError(
                "this 'response_format' is not supported", param="response_format", hint=hint
            )
        most = body.max_completion_tokens
        if None not in (most, body.max_tokens) and most != body.max_tokens:
            raise FieldError(
                "'max_tokens' and 'max_completion_tokens' are two names of one thing, and differ",
                param="max_tokens",
            )
        if most is not None:
            options["max_new_tokens"] = most
        messages = [
            _message(f"messages[{place}]", each) for place, each in enumerate(body.messages)
        ]
        # As many as the model has room for.
        return Asked([{"messages": messages}], options, {"max_new_tokens": None})

    def beginning(self) -> list[JsonObject]:
        """A piece that says who speaks."""
        return [self._piece({"role": "assistant", "content": ""}, None)]

    def choice(self, index: int, text: str, reason: str) -> JsonObject:
        """A message."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": None, "finish_reason": reason}

    def piece(self, text: str | None, reason: str | None) -> JsonObject:
        """A piece of a message, or its end."""
        return self._piece({} if text is None else {"content": text}, reason)

    def _piece(self, delta: JsonObject, reason: str | None) -> JsonObject:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _message(where: str, given: Mapping[str, object]) -> JsonObject:
    """Read a message: who speaks, and what is said; what a client leaves empty doesn't count."""
    said = {name: value for name, value in given.items() if value is not None and value != []}
    role, content = said.pop("role", None), said.pop("content", None)
    if role not in ROLES:
        raise FieldError(
            f"the 'role' of {where} must be one of {', '.join(ROLES)}", param=f"{where}.role"
        )
    if said:
        name = str(next(iter(said)))[:80]
        raise FieldError(f"{name!a} of {where} is not supported", param=where)
    return {"role": str(role), "content": _text(where, content)}


def _text(where: str, content: object) -> str:
    if isinstance(content, str):
        return content
    match content:
        case [dict(part)] if part.keys() == {"type", "text"} and part["type"] == "text":
            return _text(where, part["text"])
    if isinstance(content, list):
        raise FieldError(
            f"the content of {where} has parts that can't be taken",
            param=f"{where}.content",
            hint="send one string, or one part of type 'text'",
        )
    raise FieldError(
        f"the content of {where} must be a string, not {kind(content)}", param=f"{where}.content"
    )
