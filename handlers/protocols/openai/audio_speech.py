"""`v1/audio/speech`: how a text sounds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from handlers import wave_files
from handlers.protocols.openai import Asked, FieldError, Route, RouteFields
from handlers.schema import setting


@dataclass(frozen=True, kw_only=True)
class SpeechFields(RouteFields):
    """What a body may hold; a field of one allowed value is for what can't be asked."""

    input: str | None = setting(None, "The text.")
    voice: str | None = setting(None, "One of the model's voices; by default its first.")
    response_format: Literal["wav", "pcm"] | None = setting(
        None, "wav, the default, or pcm: 16 bits a sample, at the model's own rate."
    )
    speed: float | None = setting(None, "2 is twice as fast as 1.", minimum=0.25, maximum=4)
    stream_format: Literal["audio"] | None = setting(
        None, "Send the sound sentence by sentence, while it is made; otherwise it comes whole."
    )


class AudioSpeech(Route):
    """Speaks a text."""

    Fields = SpeechFields
    needs = ("samples", "sampling_rate")
    hints = {"response_format": "nothing is compressed here: send 'wav' or 'pcm'"}

    def asked(self, known: Collection[str]) -> Asked:
        """The text, and how to speak it."""
        body = self.body
        if body.input is None:
            raise FieldError("the request has no 'input'", param="input", hint="send a string")
        options: dict[str, object] = {} if body.voice is None else {"voice": body.voice}
        if body.speed is not None and "speaking_rate" in known:
            options["speaking_rate"] = body.speed
        elif body.speed not in (None, 1):
            raise FieldError(f"the model {self.model} has one speed alone", param="speed")
        if body.stream_format and "stream" in known:
            options["stream"] = True
        return Asked([body.input], options)

    def write(self, answers: Sequence[Any]) -> bytes:
        """Write the sound."""
        (answer,) = answers
        if self.body.response_format == "pcm":
            self.media_type = wave_files.PCM
            return wave_files.pcm(answer.samples)
        self.media_type = wave_files.WAV
        return wave_files.wav(answer.samples, answer.sampling_rate)
