"""Spoken commands: what is said, by whom, and that unheard voices are understood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from examples import commands
from examples.command_model import Recogniser
from examples.voices import Line, speak
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.verify.metrics.word_accuracy import measure
from tests.support.audio import encode, wave
from tests.support.paths import ROOT


def test_voices_differ_and_say_the_same_again() -> None:
    ways = [(v, speed) for v in ("en-us", "en-gb-scotland+f5") for speed in (120, 200)]
    lines = [Line("seven", *way) for way in ways]
    (sounds, rate), (again, _) = speak(lines), speak(lines)
    assert rate == 22050
    assert all(np.array_equal(one, other) for one, other in zip(sounds, again, strict=True))
    seconds = [len(sound) / rate for sound in sounds]
    assert all(0.2 < each < 1.5 for each in seconds)
    assert seconds[0] > seconds[1]
    assert not np.array_equal(sounds[0], sounds[2])


def test_no_voice_of_the_evaluation_is_heard_in_training() -> None:
    assert not set(commands.NEW_VARIANTS) & set(commands.VARIANTS)
    assert len(set(commands.NEW_ACCENTS) - set(commands.ACCENTS)) == 2
    trained = commands.phrases(200, commands.ACCENTS, commands.VARIANTS, seed=1)
    held_out = commands.phrases(200, commands.NEW_ACCENTS, commands.NEW_VARIANTS, seed=2)
    voices = {line.voice for line in trained}
    assert not voices & {line.voice for line in held_out}
    assert {word for line in held_out for word in commands.said(line).split()} == set(
        commands.WORDS
    )
    assert trained == commands.phrases(200, commands.ACCENTS, commands.VARIANTS, seed=1)


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = torch.jit.script(Recogniser(5, width=8, layers=2).eval())
    rows = [torch.from_numpy(wave(samples, samples)) for samples in (1, 640, 641, 9000, 20000)]
    together = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    with torch.inference_mode():
        found = model(together, torch.tensor([len(row) for row in rows]))
        for row, scores in zip(rows, found, strict=True):
            alone = model(row[None], torch.tensor([len(row)]))[0]
            count = (len(row) - 1) // 640 + 1
            torch.testing.assert_close(scores[:count], alone[:count], atol=1e-5, rtol=0)


def test_the_recipe_can_be_read() -> None:
    found = reading.load(ROOT / "archiver_configs" / "commands.yaml")
    assert (found.task, found.handler["stride"]) == ("speech_recognition", 640)


@pytest.mark.slow
def test_the_archive_understands_voices_it_never_heard(tmp_path: Path) -> None:
    recipe = reading.load(ROOT / "archiver_configs" / "commands.yaml")
    build(recipe, tmp_path)
    pairs, answers = commands.held_out(), list[Any]()
    with Harness(tmp_path / "commands.mar", batch_size=8) as worker:
        for start in range(0, len(pairs), 8):
            batch = [Request.raw(body) for body, _ in pairs[start : start + 8]]
            answers += [response.json() for response in worker.predict(batch)]
        beams = [Request.form({"data": body, "beam_width": "8"}) for body, _ in pairs[:8]]
        wider = [response.json() for response in worker.predict(beams)]
        long, said = minute()
        (whole,) = worker.predict([Request.raw(long)])
    expected = [words for _, words in pairs]
    assert measure(answers, expected) >= 0.9
    assert measure(wider, expected[:8]) >= measure(answers[:8], expected[:8]) - 0.1
    check_times(whole.json(), said)


def minute() -> tuple[bytes, list[tuple[str, float, float]]]:
    """A recording of three windows, and of each of its words when it is said."""
    words = (commands.WORDS * 2)[:50]
    sounds, rate = speak([Line(word, "en-us+m3", 150) for word in words])
    quiet = np.zeros(rate // 2, np.int16)
    parts, said, place = [quiet], list[tuple[str, float, float]](), len(quiet)
    for word, sound in zip(words, sounds, strict=True):
        said.append((word, place / rate, (place + len(sound)) / rate))
        parts += [sound, quiet]
        place += len(sound) + len(quiet)
    samples = np.concatenate(parts).astype(np.float32) / 32768
    return encode(samples, rate, "FLAC"), said


def check_times(answer: dict[str, Any], said: list[tuple[str, float, float]]) -> None:
    """Nearly every word is found, and where it is said."""
    assert answer["seconds"] > 40
    assert measure([{"text": answer["text"]}], [" ".join(word for word, _, _ in said)]) >= 0.9
    right = [
        any(
            word["word"] == spoken and start <= (word["start"] + word["end"]) / 2 <= end + 0.1
            for spoken, start, end in said
        )
        for word in answer["words"]
    ]
    assert np.mean(right) >= 0.9
