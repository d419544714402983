"""Recordings in, texts out: settings, lengths, languages, prompts, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from examples import keypad
from handlers import tasks
from handlers.errors import BadRequest, LoadError
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.speech_to_text import SpeechToText
from tests.support.audio import encode, wave

SETTINGS: dict[str, Any] = {"layers": 2, "key_value_heads": 4, "head_size": 16, "bands": 40}
SETTINGS |= {"window_frames": 200, "max_target_tokens": 16, "stride": keypad.STRIDE}
SETTINGS |= {"start_token": "<s>", "stop_tokens": ["</s>"]}
SETTINGS |= {"suppressed_tokens": ["<pad>", "<s>", "<unk>"]}
LANGUAGES = {"languages": {"one": "1", "two": "2"}, "tasks": {"translate": "3"}}
WAVES = [wave(length, seed) for seed, length in enumerate([32_000, 9_000, 100, 70_000])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    keypad.assets(torch.nn.Identity(), made)
    return made


def configured(folder: Path, **section: Any) -> SpeechToText:
    handler: SpeechToText = tasks.find("speech_to_text")()
    handler.configure({"task": "speech_to_text", **SETTINGS, **section}, folder)
    torch.manual_seed(2)
    model = keypad.Listener().eval()
    torch.nn.init.normal_(model.logits.weight, std=2.0)  # or all texts are alike
    torch.nn.init.normal_(model.bands.weight, std=1.0)
    handler.use(ModuleRuntime(model, torch.device("cpu")), batch_size=4)
    return handler


def answers(handler: SpeechToText, waves: list[Any], **options: Any) -> list[Any]:
    asked = handler.Options(**options)
    samples = [handler.decode(each, asked) for each in waves]
    outputs = handler.inference(handler.collate(samples))
    return [answer.to_json() for answer in handler.answer(outputs, samples)]


@pytest.mark.parametrize("beams", [1, 3])
def test_together_each_is_answered_as_alone(folder: Path, beams: int) -> None:
    handler = configured(folder)
    asked = {"num_beams": beams, "max_new_tokens": 6, "min_new_tokens": 2}
    together = answers(handler, WAVES, **asked)
    alone = [answers(handler, [each], **asked)[0] for each in WAVES]
    assert together == alone
    assert len({answer["text"] for answer in together}) > 1
    assert [answer["seconds"] for answer in together] == [2.0, 0.562, 0.006, 4.375]


def test_without_time_stamps_windows_follow_each_other(folder: Path) -> None:
    handler = configured(folder)
    whole = wave(96_000, 4)  # three windows
    (said,) = answers(handler, [whole], max_new_tokens=5, min_new_tokens=3)
    assert said["tokens"] > 5
    assert said["segments"] == []
    with pytest.raises(BadRequest, match="no time stamps"):
        answers(handler, [whole], timestamps=True)


def test_a_file_of_another_rate_is_resampled(folder: Path) -> None:
    handler = configured(folder)
    (said,) = answers(handler, [encode(wave(8_000), 8_000)], max_new_tokens=3)
    assert said["seconds"] == 1.0


def test_a_language_is_one_of_the_model_by_name_or_code(folder: Path) -> None:
    handler = configured(folder, **LANGUAGES)
    said = answers(handler, WAVES[:1], language="two", max_new_tokens=4)
    assert said == answers(handler, WAVES[:1], language=" <|2|>", max_new_tokens=4)
    assert said[0]["language"] == "2"
    (found,) = answers(handler, WAVES[:1], max_new_tokens=4)
    assert found["language"] in ("1", "2")
    assert answers(handler, WAVES[:1], language=found["language"], max_new_tokens=4) == [found]
    with pytest.raises(BadRequest, match="'language'; allowed: one, two"):
        answers(handler, WAVES[:1], language="three")
    with pytest.raises(BadRequest, match="'transcribe' is not allowed in 'task'"):
        answers(handler, WAVES[:1], task="transcribe")


def test_a_prompt_is_read_where_the_model_knows_one(folder: Path) -> None:
    with pytest.raises(BadRequest, match="takes no 'prompt'"):
        answers(configured(folder), WAVES[:1], prompt="12")
    handler = configured(folder, **{"previous_token": "<unk>", "max_target_tokens": 24})
    sample = handler.decode(WAVES[0], handler.Options(prompt="1234567890*#123"))
    ids = handler.tokenizer.encode("34567890*#123").ids
    assert sample.meta.introduction.first()[:-1][-10:] == ids[-10:]
    assert len(sample.meta.introduction.before) == 11  # half of what there is room for, less one
    with pytest.raises(BadRequest, match="special tokens"):
        answers(handler, WAVES[:1], prompt="1</s>")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"layers": 0}, "must be at least 1"),
        ({"start_token": "<begin>"}, "'<begin>' in the settings is not a token"),
        ({"tokenizer": "none.json"}, "there is no tokenizer none.json"),
        ({"no_timestamps_token": "9", "stop_tokens": ["7", "8"]}, "must be one token"),
        ({"defaults": {"language": "xx"}}, "'language'"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    folder: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises((LoadError, BadRequest), match=words):
        configured(folder, **section)


def test_recordings_that_are_too_long_together_are_refused(folder: Path) -> None:
    handler = configured(folder, max_recording_seconds=5)
    with pytest.raises(BadRequest, match="at most 5 s"):
        handler.screen([wave(48_000), wave(48_000)])
    with pytest.raises(BadRequest, match="longer than 5 s"):
        answers(handler, [wave(90_000)])


def test_who_gives_up_leaves_all_slots(folder: Path) -> None:
    handler = configured(folder)
    decoder = handler.decoder(8)
    rows = [
        handler.sequence(handler.decode(each, handler.Options(num_beams=beams, min_new_tokens=9)))
        for each, beams in zip(WAVES, (3, 1, 4, 1), strict=True)
    ]
    for row in rows:
        decoder.add(row)
    for _ in range(3):
        decoder.step()
    decoder.abort(rows[0])
    rows[2].expire()
    while decoder.busy:
        decoder.step()
    assert rows[2].reason == "time"
    assert rows[1].reason in ("stop", "length")
    assert rows[1].error is rows[2].error is rows[3].error is None
