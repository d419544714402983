"""`v1/audio/transcriptions`: the words of a recording."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from handlers.protocols.openai import Asked, FieldError, Route, RouteFields
from handlers.schema import JsonObject, setting

PASSED_ON = ("language", "prompt", "temperature")


@dataclass(frozen=True, kw_only=True)
class TranscriptionFields(RouteFields):
    """What a form may hold, beside its file; options that a model doesn't have are refused."""

    response_format: Literal["json", "text"] | None = setting(None, "json, the default, or text.")
    language: str | None = setting(None, "The language that is spoken.")
    prompt: str | None = setting(None, "What was said before.")
    temperature: float | None = setting(None, "0 takes the likeliest.", minimum=0, maximum=1)
    stream: Literal["false", "False", "0"] | None = setting(None, "Not in pieces.")


class AudioTranscriptions(Route):
    """Transcribes a recording, the `file` of a multipart form."""

    Fields = TranscriptionFields
    needs = ("text", "seconds")
    form = True

    def read(self, body: object, known: Collection[str]) -> Asked:
        """Read a form: a file, and fields of text."""
        given = body if isinstance(body, Mapping) else {}
        form = {
            name: bytes(value) if isinstance(value, bytearray) else value
            for name, value in given.items()
        }
        self._file = form.pop("file", None)
        if not isinstance(self._file, bytes) or not self._file:
            raise FieldError(
                "the request has no 'file'",
                param="file",
                hint="send multipart/form-data with a recording in 'file'",
            )
        for name, value in form.items():
            if isinstance(value, bytes):
                form[name] = value.decode("utf-8", "replace")
        return super().read(form, known)

    def asked(self, known: Collection[str]) -> Asked:
        """The recording."""
        given = {name: getattr(self.body, name) for name in PASSED_ON}
        if given["temperature"] == 0 and "temperature" not in known:
            del given["temperature"]  # nothing is drawn
        said = {name: value for name, value in given.items() if value is not None}
        return Asked([self._file], said)

    def write(self, answers: Sequence[Any]) -> JsonObject | str:
        """Write the words, with the length of the recording, or as plain text."""
        (answer,) = answers
        if self.body.response_format == "text":
            self.media_type = "text/plain; charset=utf-8"
            return f"{answer.text}\n"
        usage = {"type": "duration", "seconds": answer.seconds}
        return {"text": answer.text, "usage": usage}
