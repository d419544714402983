"""`v1/completions`: what follows a text."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from handlers.protocols.openai import NO_NUMBERS, TEXT, TEXTS, Asked, FieldError, texts_of
from handlers.protocols.openai._writing import TextRoute, WritingFields, answer_of
from handlers.schema import JsonObject, setting

USUAL_TOKENS = 16  # OpenAI's own default


@dataclass(frozen=True, kw_only=True)
class CompletionFields(WritingFields):
    """What a body may hold; a field of one allowed value is for what can't be asked."""

    prompt: str | tuple[str, ...] = setting((), "A text, or a list of texts.")
    best_of: Literal[1] | None = setting(None, "How many texts to choose from.")
    echo: Literal[False] | None = setting(None, "The prompt is not sent back.")
    logprobs: Literal[False] | None = setting(None, "None.")
    suffix: Literal[""] | None = setting(None, "Nothing can be written in the middle of a text.")


class Completions(TextRoute):
    """Writes what follows texts."""

    Fields = CompletionFields
    kind = piece_kind = "text_completion"
    prefix = "cmpl"
    typed = {"prompt": TEXTS}
    answer = answer_of(kind, text=TEXT)
    hints = {"prompt": NO_NUMBERS}

    def asked(self, known: Collection[str]) -> Asked:
        """The prompts."""
        prompts = texts_of(self.body.prompt, "prompt")
        if self.body.stream and len(prompts) > 1:
            raise FieldError("a stream takes one prompt", param="prompt")
        return Asked(prompts, self.options(known), {"max_new_tokens": USUAL_TOKENS})

    def choice(self, index: int, text: str, reason: str) -> JsonObject:
        """A text."""
        return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}

    def piece(self, text: str | None, reason: str | None) -> JsonObject:
        """A piece of a text, or its end."""
        return {"index": 0, "text": text or "", "logprobs": None, "finish_reason": reason}
