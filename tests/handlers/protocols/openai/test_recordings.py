"""Transcriptions and translations as OpenAI's routes write them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from handlers.protocols import openai
from handlers.protocols.openai._recordings import subtitles
from handlers.tasks.speech_recognition import SpeechRecognition, Transcript
from handlers.tasks.speech_to_text import SpeechToText, Transcription

PATHS = {"words": "v1/audio/transcriptions", "english": "v1/audio/translations"}
WRITER = {each.name for each in fields(SpeechToText.Options)}
LISTENER = {each.name for each in fields(SpeechRecognition.Options)}
SEGMENTS: list[dict[str, Any]] = [
    {"start": 0.0, "end": 1.5, "text": "One."},
    {"start": 61.25, "end": 3723.0, "text": "a --> b"},
]
ANSWER = Transcription("One. a --> b", [*SEGMENTS], "en", 3723.0, "stop", 9)
FILE = {"file": bytearray(b"RIFF")}


def route(path: str, kind: type[Any] = Transcription) -> openai.Route:
    found = openai.find(PATHS[path])
    assert found is not None
    made = found("whisper")
    openai.check(made, kind)
    return made


def test_what_is_asked_are_options_of_the_task() -> None:
    form = {**FILE, "language": b"en", "prompt": b"Ann, Bo", "temperature": b"0.5"}
    asked = route("words").read({**form, "response_format": b"srt"}, WRITER)
    assert asked.instances == [b"RIFF"]
    said = {"language": "en", "prompt": "Ann, Bo", "temperature": 0.5, "task": "transcribe"}
    assert asked.options == {**said, "timestamps": True}
    assert route("words").read({**FILE, "stream": b"true"}, WRITER).options == {
        "task": "transcribe", "stream": True,
    }  # fmt: skip
    assert route("english").read(FILE, WRITER).options == {"task": "translate"}
    assert route("words", Transcript).read({**FILE, "temperature": b"0"}, LISTENER).options == {}


@pytest.mark.parametrize(
    ("path", "kind", "known", "form", "param"),
    [
        ("words", Transcript, LISTENER, {"response_format": b"vtt"}, "response_format"),
        ("words", Transcript, LISTENER, {"language": b"en"}, "language"),
        ("words", Transcript, LISTENER, {"stream": b"true"}, "stream"),
        ("english", Transcription, WRITER, {"language": b"en"}, "language"),
        ("words", Transcription, WRITER, {"response_format": b"xml"}, "response_format"),
        (
            "words", Transcription, WRITER, {"timestamp_granularities[]": b"word"},
            "timestamp_granularities[]",
        ),
    ],
)  # fmt: skip
def test_what_a_model_does_not_have_is_refused_by_its_field(
    path: str, kind: type[Any], known: set[str], form: dict[str, bytes], param: str
) -> None:
    with pytest.raises(openai.FieldError) as caught:
        route(path, kind).read({**FILE, **form}, known)
    assert caught.value.param == param


def test_a_model_of_no_languages_does_not_translate() -> None:
    with pytest.raises(openai.FieldError, match="does not answer") as caught:
        route("english", Transcript)
    assert caught.value.hint == "it answers at: v1/audio/transcriptions"


@pytest.mark.parametrize("form", ["json", "text", "verbose_json", "srt", "vtt"])
def test_an_answer_is_written_in_the_format_asked_for(form: str) -> None:
    found = route("words")
    found.read({**FILE, "response_format": form.encode()}, WRITER)
    said: Any = found.write([ANSWER])
    usage = {"type": "duration", "seconds": 3723.0}
    if form == "json":
        assert said == {"text": ANSWER.text, "usage": usage}
    elif form == "text":
        assert said == f"{ANSWER.text}\n"
    elif form == "verbose_json":
        assert (said["task"], said["language"], said["duration"]) == ("transcribe", "en", 3723.0)
        assert said["segments"] == [{"id": 0, **SEGMENTS[0]}, {"id": 1, **SEGMENTS[1]}]
    else:
        assert said == subtitles(SEGMENTS, form)
    assert found.media_type.startswith("application/json" if "json" in form else "text/plain")


def test_subtitles_are_those_of_subrip_and_webvtt() -> None:
    assert subtitles(SEGMENTS, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\nOne.\n\n2\n00:01:01,250 --> 01:02:03,000\na -> b\n"
    )
    assert subtitles(SEGMENTS, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nOne.\n\n00:01:01.250 --> 01:02:03.000\na -> b\n"
    )
    assert subtitles([], "srt") == ""


def test_pieces_are_events_and_the_last_has_all_of_the_text() -> None:
    found = route("words")
    found.read({**FILE, "stream": b"true"}, WRITER)
    assert found.pieces({"text": "One"}) == [{"type": "transcript.text.delta", "delta": "One"}]
    last = found.pieces({**ANSWER.to_json(), "text": ". "})
    assert last == [
        {"type": "transcript.text.delta", "delta": ". "},
        {"type": "transcript.text.done", "text": "One."},
    ]
