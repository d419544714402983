"""Speech as OpenAI's route writes it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from handlers import wave_files
from handlers.protocols import openai
from handlers.speech.speaking import SpeechSynthesisOptions, VoiceOptions
from handlers.tasks.speech_synthesis import Speech

KNOWN = {each.name for each in fields(SpeechSynthesisOptions)}
PLAIN = {each.name for each in fields(VoiceOptions)}
SAMPLES = [0.0, 0.25, -0.25]


def route() -> openai.Route:
    found = openai.find("v1/audio/speech")
    assert found is not None
    made = found("speaker")
    openai.check(made, Speech)
    return made


def test_what_is_asked_are_options_of_the_task() -> None:
    asked = route().read({"model": "speaker", "input": "Hi", "voice": "ada", "speed": 2}, KNOWN)
    assert (asked.instances, asked.options) == (["Hi"], {"voice": "ada", "speaking_rate": 2})
    # As usual is as the recipe says, which may be another rate than 1.
    assert route().read({"input": "Hi"}, KNOWN).options == {}
    assert route().read({"input": "Hi", "speed": 1}, KNOWN).options == {"speaking_rate": 1}
    assert route().read({"input": "Hi", "speed": 1}, PLAIN).options == {}
    parts = route().read({"input": "Hi", "stream_format": "audio"}, PLAIN)
    assert parts.options == {"stream": True}


@pytest.mark.parametrize(
    ("body", "known", "param"),
    [
        ({}, KNOWN, "input"),
        ({"input": 7}, KNOWN, "input"),
        ({"input": "Hi", "response_format": "mp3"}, KNOWN, "response_format"),
        ({"input": "Hi", "speed": 9}, KNOWN, "speed"),
        ({"input": "Hi", "speed": 2}, PLAIN, "speed"),
        ({"input": "Hi", "instructions": "slowly"}, KNOWN, "instructions"),
        ({"input": "Hi", "stream_format": "sse"}, KNOWN, "stream_format"),
    ],
)
def test_what_a_model_can_not_do_is_refused_by_its_field(
    body: dict[str, Any], known: set[str], param: str
) -> None:
    with pytest.raises(openai.FieldError) as caught:
        route().read(body, known)
    assert caught.value.param == param


def test_an_answer_is_a_file_or_its_samples() -> None:
    answer = Speech(SAMPLES, 8_000, 0.0)
    for form, media_type in ((None, "audio/wav"), ("wav", "audio/wav"), ("pcm", "audio/pcm")):
        found = route()
        found.read({"input": "Hi", **({"response_format": form} if form else {})}, KNOWN)
        data = found.write([answer])
        assert found.media_type == media_type
        pcm = wave_files.pcm(SAMPLES)
        assert data == (pcm if form == "pcm" else wave_files.wav(SAMPLES, 8_000))
