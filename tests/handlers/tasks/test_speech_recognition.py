"""Sound in, words out: everything but a real model's hearing."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from handlers import batching, tasks
from handlers.errors import BadRequest, LoadError, ModelError
from handlers.protocols import writing
from handlers.protocols.parsed_request import ParsedRequest
from handlers.runtimes.eager import ModuleRuntime
from handlers.schema import parse
from handlers.tasks.speech_recognition import SpeechRecognition, Transcript
from handlers.tasks.speech_recognition import SpeechRecognitionOptions as Options
from tests.support.answers import plain
from tests.support.audio import encode, recording, wave

RATE, STRIDE = 8000, 80
TOKENS = ["<pad>", "|", *"abcdefgh"]
SECTION = {
    "task": "speech_recognition",
    "sample_rate": RATE,
    "stride": STRIDE,
    "field": STRIDE,
    "chunk_seconds": 2.0,
    "overlap_seconds": 0.5,
    "max_seconds": 20.0,
}
PLAIN = Options()


class Net(nn.Module):
    """Frames of 10 ms with a context of 40, whose padding is nothing.

    It computes in float64: the last bits of float32, which another batch or another CPU's kernels
    would change, decide nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hear = nn.Conv1d(1, 16, STRIDE, STRIDE)
        self.spell = nn.Conv1d(16, len(TOKENS), 9, padding=4)
        nn.init.normal_(self.hear.weight, std=0.3)
        nn.init.normal_(self.spell.weight, std=0.6)
        self.double()

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        heard = self.hear(waveform.double().unsqueeze(1)).tanh()
        if lengths is not None:
            kept = torch.arange(heard.shape[2]) < (lengths // STRIDE).unsqueeze(1)
            heard = heard * kept.unsqueeze(1)
        spelled: torch.Tensor = self.spell(heard).transpose(1, 2)
        return spelled.float()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    (made / "vocabulary.json").write_text(json.dumps(TOKENS))
    return made


def configured(folder: Path, **section: Any) -> SpeechRecognition:
    handler: SpeechRecognition = tasks.find("speech_recognition")()
    handler.configure({**SECTION, **section}, folder)
    handler.use(ModuleRuntime(Net().eval(), torch.device("cpu")), batch_size=8)
    return handler


def transcribe(handler: SpeechRecognition, jobs: list[tuple[Any, Options]]) -> list[Transcript]:
    def predict(group: Any) -> Any:
        return handler.answer(handler.inference(handler.collate(group)), group)

    samples = [handler.decode(*job) for job in jobs]
    answers = batching.run(samples, predict, key=handler.group_key, limit=handler.batch_size)
    given = [answer for answer in answers if isinstance(answer, Transcript)]
    assert len(given) == len(answers), answers
    return given


def job(random_: random.Random) -> tuple[Any, Options]:
    """A recording of chance, as a file or as numbers, and options."""
    options = {"beam_width": random_.choice([1, 1, 4]), "timestamps": random_.random() < 0.7}
    kind = random_.randrange(4)
    if kind < 2:
        return recording(random_), parse(Options, options, where="")
    samples = wave(random_.choice([1, 80, 400, 8000, 15999, 16001, 30000]), random_.randrange(99))
    options["sample_rate"] = random_.choice([4000, 8000, 16000])
    numbers = samples if kind == 2 else (samples * 32767).astype(np.int16)
    return numbers, parse(Options, options, where="")


@pytest.mark.parametrize("section", [{}, {"lengths": False}, {"normalise": True}], ids=range(3))
def test_in_company_each_recording_is_answered_as_alone(
    folder: Path, section: dict[str, Any]
) -> None:
    handler = configured(folder, **section)
    jobs = [job(random.Random(seed)) for seed in range(24)]
    alone = [transcribe(handler, [each])[0] for each in jobs]
    assert any(answer.seconds > 2 for answer in alone)
    assert sum(bool(answer.text) for answer in alone) > 12

    @settings(max_examples=12)
    @given(st.lists(st.sampled_from(range(len(jobs))), min_size=1, max_size=10))
    def check(chosen: list[int]) -> None:
        for index, answer in zip(
            chosen, transcribe(handler, [jobs[i] for i in chosen]), strict=True
        ):
            same(answer, alone[index])

    check()


def same(answer: Transcript, other: Transcript) -> None:
    assert (answer.text, answer.seconds) == (other.text, other.seconds)
    assert len(answer.words) == len(other.words)
    for word, expected in zip(answer.words, other.words, strict=True):
        assert word == {**expected, "score": pytest.approx(expected["score"], abs=1e-4)}


@given(st.integers(1, 10 * RATE), st.integers(0, 99))
@settings(max_examples=20)
def test_windows_say_what_the_whole_would(folder: Path, samples: int, seed: int) -> None:
    cut, whole = configured(folder), configured(folder, chunk_seconds=20.0)
    sound = wave(samples, seed)
    same(*(transcribe(handler, [(sound, PLAIN)])[0] for handler in (cut, whole)))
    rows = cut.decode(sound, PLAIN).tensors["waveform"].shape
    assert rows[0] == max(1, math.ceil((samples - 2 * RATE) / (1.5 * RATE)) + 1)
    assert rows[1] <= 2 * RATE


def test_many_windows_are_run_a_batch_at_a_time(folder: Path) -> None:
    handler, sizes = configured(folder), []
    runtime = handler.runtime

    def watched(batch: Any) -> Any:
        sizes.append(len(batch["waveform"]))
        return runtime(batch)

    handler.use(watched, batch_size=8)
    transcribe(handler, [(wave(19 * RATE), PLAIN)])
    assert sizes == [8, 5]


def test_words_and_their_times_are_in_the_callers_seconds(folder: Path) -> None:
    handler = configured(folder)
    logs = torch.full((1, 100, len(TOKENS)), -9.0)
    logs[0, :, 0] = 9
    for frame, token in ((10, 2), (11, 2), (20, 3), (30, 1), (50, 4), (98, 5), (99, 5)):
        logs[0, frame, 0], logs[0, frame, token] = -9, 9
    for rate in (8000, 16000):
        options = Options(sample_rate=rate)
        sample = handler.decode(wave(rate), options)
        (answer,) = handler.answer({"x": logs}, [sample])
        assert isinstance(answer, Transcript)
        assert (answer.text, answer.seconds) == ("ab cd", 1.0)
        times = [(word["word"], word["start"], word["end"]) for word in answer.words]
        assert times == [("ab", 0.1, 0.21), ("cd", 0.5, 1.0)]
    (silent,) = handler.answer({"x": logs}, [handler.decode(wave(8000), Options(timestamps=False))])
    assert silent.to_json() == {"text": "ab cd", "words": [], "seconds": 1.0}


def test_what_is_shorter_than_a_frame_is_answered(folder: Path) -> None:
    for samples in (1, 79, 80):
        (answer,) = transcribe(configured(folder), [(wave(samples), PLAIN)])
        assert answer.seconds == pytest.approx(samples / RATE, abs=1e-3)
        assert all(float(word["end"]) <= answer.seconds for word in answer.words)


def test_normalised_recordings_have_mean_0_and_variance_1(folder: Path) -> None:
    handler = configured(folder, normalise=True)
    for sound in (wave(900) * 0.01 + 0.2, np.zeros(900, np.float32), np.ones(1, np.float32)):
        waveform = handler.decode(sound, PLAIN).tensors["waveform"]
        assert torch.isfinite(waveform).all()
        assert waveform.mean() == pytest.approx(0, abs=1e-4)
    assert handler.decode(wave(900), PLAIN).tensors["waveform"].var() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("shape", [(1, 50), (1, 50, 9), (2, 50, 10), (1, 99, 10)])
def test_a_model_that_is_no_recogniser_is_told(folder: Path, shape: tuple[int, ...]) -> None:
    handler = configured(folder)
    with pytest.raises(ModelError, match=r"answers \(N, T, 10\)|gave 99 frames, not 100"):
        handler.answer({"x": torch.zeros(shape)}, [handler.decode(wave(8000), PLAIN)])


def test_a_model_that_gives_no_numbers_is_told(folder: Path) -> None:
    handler = configured(folder)
    with pytest.raises(ModelError, match="not finite"):
        handler.answer(
            {"x": torch.full((1, 100, 10), torch.nan)}, [handler.decode(wave(8000), PLAIN)]
        )


def test_answers_in_every_protocol(folder: Path) -> None:
    sounds = [wave(9000, 1), wave(700, 2)]
    answers = transcribe(configured(folder), [(sound, PLAIN) for sound in sounds])

    def written(protocol: Any) -> Any:
        request = ParsedRequest(protocol, sounds)
        names = {"model_name": "m", "model_version": "1"}
        return json.loads(writing.write(request, answers, **names).body)

    first = written("raw")
    assert (
        set(first) == set(plain(Transcript.schema())["properties"]) == {"text", "words", "seconds"}
    )
    assert written("v1")["predictions"][0] == first
    text, words, seconds = written("v2")["outputs"]
    assert text["data"][0] == first["text"]
    assert json.loads(words["data"][0]) == first["words"]
    assert seconds["datatype"] == "FP32"


def test_the_example_and_what_it_takes(folder: Path) -> None:
    handler = configured(folder)
    media_type, body = handler.example()
    assert media_type == "audio/wav"
    sample = handler.decode(body, PLAIN)
    assert sample.tensors["waveform"].shape == (1, RATE)
    assert json.loads(json.dumps(handler.describe_input()))["sample_rate"] == RATE
    assert list(handler.collate([sample])) == ["waveform", "lengths"]
    assert handler.varying_axes() == {"waveform": (1,)}


def test_too_long_together_is_refused_before_any_is_decoded(folder: Path) -> None:
    handler = configured(folder, max_seconds=2.0)
    handler.screen([encode(wave(8000), 8000), wave(8000)])
    with pytest.raises(BadRequest, match="at most 2 s"):
        handler.screen([encode(wave(8000), 8000), wave(8001)])
    with pytest.raises(BadRequest, match="longer than 2 s"):
        handler.decode(wave(16001), PLAIN)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"vocabulary": "vocab.txt"}, "vocab.txt"),
        ({"blank": "<none>"}, "no token '<none>' in vocabulary.json"),
        ({"delimiter": " "}, "no token ' '"),
        ({"overlap_seconds": 1.5}, "at most half of 'chunk_seconds'"),
        ({"overlap_seconds": 0.0}, "at least two of the model's frames"),
        ({"sample_rate": 1}, "must be at least 4000"),
        ({"normalize": True}, "did you mean 'normalise'"),
        ({"defaults": {"beam_width": 65}}, "must be at most 64"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    folder: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError, match=words):
        configured(folder, **section)


def test_tokens_that_begin_words_need_no_delimiter(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.json").write_text(json.dumps(["<pad>", "▁one", "▁two"]))
    assert configured(tmp_path).delimiter == -1
