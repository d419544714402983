"""`v1/audio/transcriptions`: the words of a recording."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from handlers.protocols.openai._recordings import RecordingFields, RecordingRoute
from handlers.schema import setting


@dataclass(frozen=True, kw_only=True)
class TranscriptionFields(RecordingFields):
    """What a form may hold; see `RecordingFields`."""

    language: str | None = setting(None, "The language that is spoken.")
    stream: bool | None = setting(None, "Send the text piece by piece, while it is written.")


class AudioTranscriptions(RecordingRoute):
    """Transcribes a recording."""

    Fields = TranscriptionFields
    task = "transcribe"
    passed_on = ("language", "prompt", "temperature")

    def chosen(self, known: Collection[str]) -> Mapping[str, object]:
        """To transcribe, in pieces if that is asked."""
        stream = {"stream": True} if self.body.stream else {}
        return {**super().chosen(known), **stream}
