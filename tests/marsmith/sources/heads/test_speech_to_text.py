"""Folders of Whispers write what transformers' `generate` writes, token by token."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.speech.transcribing import SpeechSequence
from handlers.tasks.speech_to_text import SpeechToText
from marsmith.cache import Cache
from marsmith.errors import BuildError, UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.sources.heads import _sourced_decoding
from marsmith.sources.heads._speech_encoder_decoder import SpeechEncoderDecoder
from marsmith.sources.huggingface import HuggingFace
from tests.support import whispers
from tests.support.audio import encode, wave

RATE = 16_000
LENGTHS = [16_000, 8_000, 3_000, 20_000, 50_000, 16_100, 12_345, 33_333]  # samples
WAVES = [wave(length, seed) for seed, length in enumerate(LENGTHS)]
TIMED = {"timestamps": True}
ASKED: dict[str, dict[str, Any]] = {
    "greedy": TIMED,
    "untimed": {"max_new_tokens": 12},
    "language": {"language": "de", "task": "translate", "max_new_tokens": 15},
    "named": {"language": "French", **TIMED},
    "translated": {"task": "translate", **TIMED},
    "penalised": {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2, **TIMED},
    "long": {"min_new_tokens": 10, **TIMED},
    "beams": {"num_beams": 4, **TIMED},
    "short beams": {"num_beams": 2, "max_new_tokens": 7, "language": "ja", "length_penalty": 2.0},
    "ruled beams": {
        "num_beams": 3, "repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "task": "transcribe",
        **TIMED,
    },
}  # fmt: skip


class Loaded(NamedTuple):
    """A folder as a handler has it, and as transformers reads it."""

    handler: SpeechToText
    model: Any
    processor: Any


Load = Callable[..., Loaded]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    kept: dict[str, Loaded] = {}

    def one(seed: int = 5, **said: Any) -> Loaded:
        key = json.dumps([seed, said])
        if key not in kept:
            kept[key] = loaded(tmp_path_factory.mktemp("whisper"), seed, **said)
        return kept[key]

    return one


def loaded(folder: Path, seed: int, **said: Any) -> Loaded:
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

    whispers.write(folder, seed, **said)
    source = HuggingFace(huggingface=folder, head="speech_to_text")
    module = source.load(Cache(folder / "cache"), lambda line: None)
    out = folder / "out"
    out.mkdir()
    handler: SpeechToText = tasks.find("speech_to_text")()
    handler.configure({"task": "speech_to_text", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    model = AutoModelForSpeechSeq2Seq.from_pretrained(folder)
    return Loaded(handler, model, AutoProcessor.from_pretrained(folder))


def generated(one: Loaded, samples: Any, **asked: Any) -> list[int]:
    """What transformers writes; of a recording of several windows, with time stamps."""
    fits = len(samples) <= RATE * whispers.SECONDS
    whole = {} if fits else {"truncation": False, "padding": "longest"}
    features = one.processor.feature_extractor(
        samples, sampling_rate=RATE, return_tensors="pt", **whole
    )["input_features"]
    asked = {"return_timestamps" if name == "timestamps" else name: asked[name] for name in asked}
    if features.shape[2] > RATE * whispers.SECONDS // 160:
        asked["return_timestamps"] = True
    with torch.inference_mode():
        found: list[int] = one.model.generate(features, **asked)[0].tolist()
    return found


def written(one: Loaded, waves: list[Any], slots: int = 6, **asked: Any) -> list[SpeechSequence]:
    handler = one.handler
    options = handler.Options(**{**vars(handler.default_options), **asked})
    rows = [handler.sequence(handler.decode(samples, options)) for samples in waves]
    decoder = handler.decoder(slots)
    for row in rows:
        decoder.add(row)
        decoder.step()  # each joins while others are on their way
    while decoder.busy:
        decoder.step()
    for row in rows:
        assert row.error is None, row.error
    return rows


def check(one: Loaded, waves: list[Any], **asked: Any) -> None:
    rows = written(one, waves, **asked)
    assert len({tuple(row.kept) for row in rows}) > 1
    for samples, row in zip(waves, rows, strict=True):
        wanted = generated(one, samples, **asked)
        assert row.kept == wanted, (len(samples), row.kept, wanted)
        text = one.processor.tokenizer.decode(wanted, skip_special_tokens=True)
        assert row.text.strip() == text.strip()


FAST = {(5, "greedy"), (5, "short beams")}
EACH = [
    pytest.param(seed, asked, marks=() if (seed, asked) in FAST else pytest.mark.slow)
    for seed in (5, 7, 11)
    for asked in ASKED
]


@pytest.mark.parametrize(("seed", "asked"), EACH)
def test_what_is_written_together_is_what_generate_writes_alone(
    load: Load, seed: int, asked: str
) -> None:
    fast = (seed, asked) in FAST
    check(load(seed), WAVES[1:4] if fast else WAVES, **ASKED[asked])


SETTINGS: dict[str, dict[str, Any]] = {
    "forced": {"forced_decoder_ids": [[1, None], [2, 263]], "max_new_tokens": 9},
    "said": {"language": "ja", "task": "translate", "return_timestamps": True},
    "any beginning": {"max_initial_timestamp_index": None, "return_timestamps": True},
    "one language": {"multilingual": False, "return_timestamps": True, "max_new_tokens": 11},
    "nothing suppressed": {
        "suppress_tokens": None, "begin_suppress_tokens": None, "return_timestamps": True,
        "num_beams": 2,
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("said", SETTINGS)
def test_what_a_folder_says_of_writing_is_done(load: Load, said: str) -> None:
    check(load(5, **SETTINGS[said]), WAVES[:4])


@pytest.mark.slow
@pytest.mark.parametrize("language", ["", "fr"])
def test_a_prompt_is_read_before_every_window(load: Load, language: str) -> None:
    one = load()
    ids = one.processor.get_prompt_ids("ab, c", return_tensors="pt")
    asked: dict[str, Any] = {"language": language} if language else {}
    (row,) = written(one, WAVES[4:5], prompt=" ab, c ", **asked)
    wanted = generated(one, WAVES[4], prompt_ids=ids, **asked)
    assert row.kept == wanted
    assert row.kept != written(one, WAVES[4:5], **asked)[0].kept


def test_segments_are_those_of_generate(load: Load) -> None:
    one = load()
    handler = one.handler
    options = handler.Options(timestamps=True)
    sample = handler.decode(WAVES[4], options)
    (answer,) = handler.answer(handler.inference(handler.collate([sample])), [sample])
    said: Any = answer.to_json()
    features = one.processor.feature_extractor(
        WAVES[4], sampling_rate=RATE, return_tensors="pt", truncation=False, padding="longest"
    )["input_features"]
    with torch.inference_mode():
        found = one.model.generate(features, return_timestamps=True, return_segments=True)
    decode = one.processor.tokenizer.decode
    texts = [decode(each["tokens"], skip_special_tokens=True) for each in found["segments"][0]]
    wanted = [
        (float(each["start"]), min(float(each["end"]), said["seconds"]), text.strip())
        for each, text in zip(found["segments"][0], texts, strict=True)
        if text.strip()
    ]
    assert len(wanted) > 2
    given = [(each["start"], each["end"], each["text"]) for each in said["segments"]]
    assert given == [(pytest.approx(a), pytest.approx(b), text) for a, b, text in wanted]
    assert said["language"] in whispers.CODES


def test_pieces_of_a_stream_are_the_text(load: Load) -> None:
    one = load()
    for asked in ({"language": "de"}, {"timestamps": True}):
        handler = one.handler
        row = handler.sequence(handler.decode(WAVES[1], handler.Options(**asked)))
        decoder, seen = handler.decoder(1), [""]
        decoder.add(row)
        while decoder.busy:
            decoder.step()
            assert row.text.startswith(seen[-1])
            seen.append(row.text)
        assert len(set(seen)) > 2
        assert row.text.rstrip() == handler.written(row).text


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"logprob_threshold": -1.0}, "'logprob_threshold'"),
        ({"compression_ratio_threshold": 1.35}, "'compression_ratio_threshold'"),
        ({"condition_on_prev_tokens": True}, "'condition_on_prev_tokens'"),
        ({"forced_decoder_ids": [[2, 263]]}, "'forced_decoder_ids'"),
        ({"num_beams": 4, "num_beam_groups": 2}, "'num_beam_groups'"),
        ({"bad_words_ids": [[5, 6]]}, "several tokens"),
    ],
)
def test_a_setting_that_is_not_known_is_refused_by_its_name(
    load: Load, tmp_path: Path, said: dict[str, Any], words: str
) -> None:
    refused(tmp_path, "generation_config.json", said, words, UnsupportedError)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"dither": 0.1}, "'dither' in preprocessor_config.json"),
        ({"feature_size": 40}, "100 frames of 40 bands; the model takes 100 of 20"),
        ({"chunk_length": 30}, "3000 frames of 20 bands"),
    ],
)
def test_another_form_of_sound_is_refused(tmp_path: Path, said: dict[str, Any], words: str) -> None:
    kind = UnsupportedError if "dither" in said else BuildError
    refused(tmp_path, "processor_config.json", {"feature_extractor": said}, words, kind)


def refused(
    folder: Path, name: str, said: dict[str, Any], words: str, kind: type[Exception]
) -> None:
    whispers.write(folder / "model")
    file = folder / "model" / name
    known = json.loads(file.read_text("utf-8"))
    for key, value in said.items():
        known[key] = {**known[key], **value} if isinstance(value, dict) else value
    file.write_text(json.dumps(known), "utf-8")
    source = HuggingFace(huggingface=folder / "model", head="speech_to_text")
    module = source.load(Cache(folder / "cache"), lambda line: None)
    with pytest.raises(kind, match=words):
        source.bring(module, folder, {})


def test_another_task_says_which_it_is_a_model_for(tmp_path: Path) -> None:
    whispers.write(tmp_path)
    source = HuggingFace(huggingface=tmp_path, head="speech_recognition")
    with pytest.raises(BuildError) as caught:
        source.load(Cache(tmp_path / "cache"), lambda line: None)
    assert caught.value.hint == "it is a model for: task: speech_to_text"


def test_a_model_that_would_write_otherwise_is_refused(tmp_path: Path) -> None:
    """One whose encoder counts positions from another place."""
    from transformers import AutoModelForSpeechSeq2Seq

    whispers.write(tmp_path)
    model = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path).eval()
    known = _sourced_decoding.whole(model, SpeechEncoderDecoder)
    module = SpeechEncoderDecoder(model, 48)
    _sourced_decoding.see_that_it_writes(module, known)
    places = model.get_encoder().embed_positions.weight
    places.data = places.data.roll(1, 0)
    with pytest.raises(UnsupportedError, match="logits differ"):
        _sourced_decoding.see_that_it_writes(module, known)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "openvino", "pt2"])
def test_five_lines_of_recipe_build_it_and_it_is_served_without_transformers(
    tmp_path: Path, runtime: str
) -> None:
    one = loaded(tmp_path / "model", 5, max_new_tokens=9)
    recipe = {
        "name": "tiny",
        "task": "speech_to_text",
        "source": {"huggingface": str(tmp_path / "model")},
        "runtime": runtime,
        "serving": {"batch_size": 4},
    }
    report = build(recipe, tmp_path)
    assert report is not None
    assert [rung.name for rung in report.ladder][:2] == ["untouched", "original"]
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "transformers.py").write_text("raise ImportError('there is none here')\n", "utf-8")
    with Harness(tmp_path / "tiny.mar", batch_size=4, env={"PYTHONPATH": str(hidden)}) as worker:
        asked = [Request.raw(encode(samples, RATE, "WAV", "FLOAT")) for samples in WAVES[:4]]
        for samples, response in zip(WAVES, worker.predict(asked), strict=False):
            assert response.status == 200, response
            said: Any = response.json()
            wanted = generated(one, samples)
            text = one.processor.tokenizer.decode(wanted, skip_special_tokens=True)
            assert said["text"] == text.strip()
