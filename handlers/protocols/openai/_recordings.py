"""Shared by the routes that take a recording and answer what is said in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from handlers.protocols.openai import (
    COUNT,
    NUMBER,
    TEXT,
    Asked,
    FieldError,
    Route,
    RouteFields,
    const,
    several,
    shape,
)
from handlers.schema import JsonObject, setting

PLAIN = "text/plain; charset=utf-8"
TIMED = ("verbose_json", "srt", "vtt")  # formats that have segments
GRANULARITIES = "timestamp_granularities[]"  # as clients call it in a form
DELTA, DONE = "transcript.text.delta", "transcript.text.done"


@dataclass(frozen=True, kw_only=True)
class RecordingFields(RouteFields):
    """What a form may hold, beside its file; options that a model doesn't have are refused."""

    response_format: Literal["json", "text", "verbose_json", "srt", "vtt"] | None = setting(
        None, "json, the default, or text; verbose_json, srt or vtt, which have segments."
    )
    prompt: str | None = setting(None, "What was said before.")
    temperature: float | None = setting(None, "0 takes the likeliest.", minimum=0, maximum=1)


class RecordingRoute(Route):
    """Writes what is said in a recording, the `file` of a multipart form.

    Attributes:
        task: what it asks of a model that can do several things.
        passed_on: fields that are options of the model's, by the same names.
    """

    needs: ClassVar[tuple[str, ...]] = ("text", "seconds")
    form = True
    answer = shape(
        "task", "language", "duration", "segments",
        text=TEXT,
        usage=shape(type=const("duration"), seconds=NUMBER),
        task=TEXT,
        language=TEXT,
        duration=NUMBER,
        segments=several(shape(id=COUNT, start=NUMBER, end=NUMBER, text=TEXT)),
    )  # fmt: skip
    task: str
    passed_on: tuple[str, ...]

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
        if form.pop(GRANULARITIES, "segment") != "segment":
            raise FieldError(
                "only segments have time stamps", param=GRANULARITIES, hint="send 'segment'"
            )
        return super().read(form, known)

    def asked(self, known: Collection[str]) -> Asked:
        """The recording."""
        given = {name: getattr(self.body, name) for name in self.passed_on}
        if given["temperature"] == 0 and "temperature" not in known:
            del given["temperature"]  # nothing is drawn
        said = {name: value for name, value in given.items() if value is not None}
        if self.body.response_format in TIMED:
            if "segments" not in self.answered:
                raise FieldError(
                    f"the model {self.model} has no segments",
                    param="response_format",
                    hint="send 'json' or 'text'",
                )
            said["timestamps"] = True
        self._begun = ""
        return Asked([self._file], {**said, **self.chosen(known)})

    def chosen(self, known: Collection[str]) -> Mapping[str, object]:
        """What the route itself asks; `known` are the options that the task has."""
        return {"task": self.task} if "task" in known else {}

    def write(self, answers: Sequence[Any]) -> JsonObject | str:
        """Write the words in the format that is asked for."""
        (answer,) = answers
        wanted = self.body.response_format
        if wanted == "verbose_json":
            return self._verbose(answer)
        if wanted in ("text", "srt", "vtt"):
            self.media_type = PLAIN
        if wanted == "text":
            return f"{answer.text}\n"
        if wanted in TIMED:
            return subtitles(answer.segments, wanted)
        return {"text": answer.text, "usage": _usage(answer)}

    def _verbose(self, answer: Any) -> JsonObject:
        return {
            "task": "translate" if self.task == "translate" else "transcribe",
            "language": answer.language,
            "duration": answer.seconds,
            "text": answer.text,
            "segments": [{"id": place, **each} for place, each in enumerate(answer.segments)],
            "usage": _usage(answer),
        }

    def pieces(self, said: Mapping[str, Any]) -> list[JsonObject | str]:
        """Write a piece of the text, and at the end all of it."""
        if "error" in said:
            message = f"{said['error']} ({said['hint']})" if said["hint"] else said["error"]
            what = {"message": message, "type": "server_error", "param": None, "code": None}
            return [{"error": what}]
        self._begun += said["text"]
        found: list[JsonObject | str] = []
        if said["text"]:
            found.append({"type": DELTA, "delta": said["text"]})
        if "finish_reason" in said:
            found.append({"type": DONE, "text": self._begun.rstrip()})
        return found


def _usage(answer: Any) -> JsonObject:
    return {"type": "duration", "seconds": answer.seconds}


def subtitles(segments: Sequence[Mapping[str, Any]], form: str) -> str:
    """Write segments as SubRip ("srt") or WebVTT ("vtt") does.

    See: https://www.w3.org/TR/webvtt1/.
    """
    mark = "," if form == "srt" else "."
    blocks = [] if form == "srt" else ["WEBVTT\n"]
    for number, each in enumerate(segments, 1):
        head = f"{number}\n" if form == "srt" else ""
        start, end = (_clock(each[name], mark) for name in ("start", "end"))
        text = each["text"].replace("-->", "->")  # which would be a time, in the midst of words
        blocks.append(f"{head}{start} --> {end}\n{text}\n")
    return "\n".join(blocks)


def _clock(seconds: float, mark: str) -> str:
    """Hours, minutes, seconds and thousandths of them: 00:01:02.500."""
    whole = round(seconds * 1000)
    minutes, rest = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{mark}{rest % 1000:03}"
