"""Folders of encoder–decoders write what transformers' `generate` writes, token by token."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.text_to_text import TextToText
from marsmith.cache import Cache
from marsmith.errors import UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.sources.heads import _sourced_decoding
from marsmith.sources.heads._encoder_decoder import EncoderDecoder, Positions
from marsmith.sources.huggingface import HuggingFace
from tests.support import encoder_decoders

SAID = "a model is only as useful as the people who can ask it something größe 模型 x 12:30 ."
WORDS = SAID.split(" ")
CHANCE = random.Random(4)
TEXTS = [" ".join(CHANCE.choices(WORDS, k=CHANCE.randint(1, 18))) for _ in range(20)]
BEAMS = {"num_beams": 4, "max_new_tokens": 24}
ASKED: dict[str, dict[str, Any]] = {
    "greedy": {"max_new_tokens": 30},
    "one": {"max_new_tokens": 1},
    "penalised": {"max_new_tokens": 20, "repetition_penalty": 1.7, "no_repeat_ngram_size": 2},
    "long": {"max_new_tokens": 20, "min_new_tokens": 15},
    "beams": BEAMS,
    "more beams": {"max_new_tokens": 16, "num_beams": 7, "length_penalty": 2.0},
    "short beams": {**BEAMS, "length_penalty": -1.0, "early_stopping": True},
    "ruled beams": {
        **BEAMS, "no_repeat_ngram_size": 3, "min_new_tokens": 6, "repetition_penalty": 1.3,
    },
}  # fmt: skip


@functools.cache
def loaded(folder: Path) -> tuple[TextToText, Any, Any]:
    """A folder as a handler has it, and as transformers reads it: the model and the tokenizer."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    source = HuggingFace(huggingface=folder, head="text_to_text")
    module = source.load(Cache(folder / "cache"), lambda line: None)
    out = folder / "out"
    out.mkdir()
    handler: TextToText = tasks.find("text_to_text")()
    handler.configure({"task": "text_to_text", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    return (
        handler,
        AutoModelForSeq2SeqLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folders")


def folder(folders: Path, kind: str) -> Path:
    made = folders / kind
    if not made.exists():
        encoder_decoders.write(made, kind)
    return made


def generated(model: Any, tokenizer: Any, text: str, **options: Any) -> list[int]:
    tokens = tokenizer(text, return_tensors="pt", truncation=True)
    inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        found: list[int] = model.generate(**inputs, do_sample=False, **options)[0, 1:].tolist()
    return found


def written(handler: TextToText, texts: list[str], slots: int, **options: Any) -> list[Any]:
    asked = handler.Options(**{**vars(handler.default_options), **options})
    rows = [handler.sequence(handler.decode(text, asked)) for text in texts]
    decoder = handler.decoder(slots)
    for row in rows:
        decoder.add(row)
        decoder.step()  # each joins while others are on their way
    while decoder.busy:
        decoder.step()
    for row in rows:
        assert row.error is None, row.error
    return rows


FAST = {("t5", "greedy"), ("t5", "ruled beams"), ("marian", "greedy"), ("bart", "beams")}
EACH = [
    pytest.param(kind, asked, marks=() if (kind, asked) in FAST else pytest.mark.slow)
    for kind in encoder_decoders.KINDS
    for asked in ASKED
]


@pytest.mark.parametrize(("kind", "asked"), EACH)
def test_what_is_written_together_is_what_generate_writes_alone(
    folders: Path, kind: str, asked: str
) -> None:
    handler, model, tokenizer = loaded(folder(folders, kind))
    rows = written(handler, TEXTS, 6, **ASKED[asked])
    for text, row in zip(TEXTS, rows, strict=True):
        wanted = generated(model, tokenizer, text, **ASKED[asked])
        assert row.made == wanted, (text, row.made, wanted)
        assert row.text == tokenizer.decode(wanted, skip_special_tokens=True)


SETTINGS: dict[str, dict[str, Any]] = {
    "forced": {"forced_bos_token_id": 2, "forced_eos_token_id": 1, "max_length": 9},
    "forbidden": {"suppress_tokens": [30, 40, 57, 198], "bad_words_ids": [[0], [1], [41]]},
    "begins": {"begin_suppress_tokens": [41, 57, 198, 200], "min_length": 5, "max_length": 12},
    "behind": {"begin_suppress_tokens": [41, 57, 198], "forced_bos_token_id": 2, "max_length": 7},
    "several ends": {"eos_token_id": [1, 41, 57, 198, 119], "max_new_tokens": 20, "num_beams": 3},
    "beams": {
        "num_beams": 4, "early_stopping": True, "length_penalty": 2.0, "no_repeat_ngram_size": 3,
        "min_length": 8, "max_length": 20, "forced_bos_token_id": 2, "forced_eos_token_id": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("said", SETTINGS)
@pytest.mark.parametrize("kind", ["bart", pytest.param("marian", marks=pytest.mark.slow)])
def test_what_a_folder_says_of_writing_is_done(tmp_path: Path, kind: str, said: str) -> None:
    encoder_decoders.write(tmp_path / "model", kind, **SETTINGS[said])
    handler, model, tokenizer = loaded(tmp_path / "model")
    length = {} if {"max_length", "max_new_tokens"} & {*SETTINGS[said]} else {"max_new_tokens": 15}
    rows = written(handler, TEXTS[:6], 8, **length)
    for text, row in zip(TEXTS, rows, strict=False):
        assert row.made == generated(model, tokenizer, text, **length)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"encoder_no_repeat_ngram_size": 3}, "'encoder_no_repeat_ngram_size'"),
        ({"num_beams": 4, "num_beam_groups": 2}, "'num_beam_groups'"),
        ({"bad_words_ids": [[5, 6]]}, "several tokens"),
        ({"early_stopping": "never"}, "'early_stopping: never'"),
        ({"do_sample": True, "num_beams": 2}, "drawn by chance"),
        ({"forced_bos_token_id": 2, "bad_words_ids": [[2]]}, "both forced and forbidden"),
        ({"exponential_decay_length_penalty": (5, 1.5)}, "'exponential_decay_length_penalty'"),
    ],
)
def test_a_setting_that_is_not_known_is_refused_by_its_name(
    tmp_path: Path, said: dict[str, Any], words: str
) -> None:
    encoder_decoders.write(tmp_path / "model", "t5")
    file = tmp_path / "model" / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **said}), "utf-8")
    source = HuggingFace(huggingface=tmp_path / "model", head="text_to_text")
    module = source.load(Cache(tmp_path / "cache"), lambda line: None)
    with pytest.raises(UnsupportedError, match=words):
        source.bring(module, tmp_path, {})


def test_the_target_language_is_the_first_token(folders: Path) -> None:
    handler, model, tokenizer = loaded(folder(folders, "m2m100"))
    for name, number in (("__fr__", 4), ("__de__", 5)):
        (row,) = written(handler, TEXTS[:1], 8, max_new_tokens=12, target_language=name)
        wanted = generated(
            model, tokenizer, TEXTS[0], max_new_tokens=12, forced_bos_token_id=number
        )
        assert row.made == wanted
        assert row.made[0] == number
        assert name not in row.text


def test_a_text_that_is_too_long_is_cut_as_the_tokenizer_cuts_it(folders: Path) -> None:
    handler, model, tokenizer = loaded(folder(folders, "bart"))
    text = "größe " * 60
    (row,) = written(handler, [text], 8, max_new_tokens=12)
    assert row.truncated
    assert len(row.source) == 96
    assert row.made == generated(model, tokenizer, text, max_new_tokens=12)


def test_a_model_that_would_write_otherwise_is_refused() -> None:
    """One whose positions are counted from another place."""
    model = encoder_decoders.KINDS["bart"]().eval()
    known = _sourced_decoding.whole(model)
    module = EncoderDecoder(model, 96)
    _sourced_decoding.see_that_it_writes(module, known)
    (places,) = module.places
    assert isinstance(places, Positions)
    places.table = places.table.roll(1, 0)
    with pytest.raises(UnsupportedError, match="row 0, token 0: logits differ"):
        _sourced_decoding.see_that_it_writes(module, known)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "runtime"),
    [
        *((kind, "torchscript") for kind in encoder_decoders.KINDS),
        ("t5", "onnx"),
        ("m2m100", "onnx"),
    ],
)
def test_five_lines_of_recipe_build_it_and_it_is_served_without_transformers(
    tmp_path: Path, kind: str, runtime: str
) -> None:
    encoder_decoders.write(tmp_path / "model", kind, num_beams=3, max_length=20)
    recipe = {
        "name": kind,
        "task": "text_to_text",
        "source": {"huggingface": str(tmp_path / "model")},
        "runtime": runtime,
        "serving": {"batch_size": 4},
    }
    report = build(recipe, tmp_path)
    assert report is not None
    assert [rung.name for rung in report.ladder][:2] == ["untouched", "original"]
    _, model, tokenizer = loaded(tmp_path / "model")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "transformers.py").write_text("raise ImportError('there is none here')\n", "utf-8")
    with Harness(tmp_path / f"{kind}.mar", batch_size=4, env={"PYTHONPATH": str(hidden)}) as worker:
        asked = [Request.raw(text.encode()) for text in TEXTS[:4]]
        for text, response in zip(TEXTS, worker.predict(asked), strict=False):
            assert response.status == 200, response
            said: Any = response.json()
            wanted = generated(model, tokenizer, text)
            assert said["text"] == tokenizer.decode(wanted, skip_special_tokens=True)
            assert said["tokens"] == len(wanted)
