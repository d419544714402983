"""Marian's and M2M100's own tokenizers: texts are split and numbered as transformers does."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers.text.text import TextConfig
from handlers.text.tokens import Encoder
from marsmith.errors import UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.sources.heads import _numbered_pieces
from marsmith.sources.heads._tokenizer import of_transformers
from tests.support import numbered_pieces, sentencepiece_models
from tests.support.vision_folders import without_transformers

pytest.importorskip("sentencepiece")

# What joins a sign that has another form, as in a fraction with an accent, is dropped with it by
# the tokenizers library.
JOINED = ("\u0301", "\u200d")
TEXTS = [
    text for text in sentencepiece_models.strange_texts(1500)
    if not any(each in text for each in JOINED)
]  # fmt: skip
PARTS = [
    unicodedata.normalize("NFD", each) for each in ("Tiếng Việt đẹp lắm", "한국어 값", "größe")
]
TEXTS += [*sentencepiece_models.plain_texts(100), *PARTS, ">>fra<< the value", ">>fra<<the", "ß"]
SAID = ["the value of a list", "größe", ">>fra<< naïve нового", "no string is the value of 2"]


@pytest.mark.parametrize("kind", numbered_pieces.KINDS)
def test_texts_become_the_tokens_that_transformers_makes(tmp_path: Path, kind: str) -> None:
    numbers = numbered_pieces.write_tokenizer(tmp_path / "model", kind)
    parts = _numbered_pieces.read(tmp_path / "model")
    assert parts is not None
    said = _numbered_pieces.bring(parts, tmp_path / "model", tmp_path)
    path = tmp_path / said["source_tokenizer"]
    encoder = Encoder(path, TextConfig(max_tokens=1000), parts.names)
    for text in TEXTS:
        assert encoder.encode(text).tensors["input_ids"].tolist() == parts.own(text)["input_ids"]
    chance = random.Random(0)
    for _ in range(500):
        ids = [chance.randrange(len(numbers)) for _ in range(chance.randint(0, 12))]
        for skip in (True, False):
            wanted = parts.own.decode(ids, skip_special_tokens=skip)
            if skip or "<" not in wanted:  # around special ones blanks are transformers' own
                assert parts.names.decode(ids, skip_special_tokens=skip) == wanted


@pytest.mark.parametrize(
    ("said", "training", "why"),
    [
        ({"separate_vocabs": True, "target_vocab_file": "vocab.json"}, {}, "that it writes other"),
        ({}, {"model_type": "char"}, "by words or characters"),
    ],
)
def test_what_would_be_read_otherwise_is_refused(
    tmp_path: Path, said: dict[str, Any], training: dict[str, Any], why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    kind = numbered_pieces.KINDS["marian"]
    changed = kind._replace(training={**kind.training, **training}, said={**kind.said, **said})
    monkeypatch.setitem(numbered_pieces.KINDS, "marian", changed)
    numbered_pieces.write_tokenizer(tmp_path / "model", "marian")
    if said:
        numbers = (tmp_path / "model" / "vocab.json").read_text("utf-8")
        (tmp_path / "model" / "target_vocab.json").write_text(numbers, "utf-8")
    with pytest.raises(UnsupportedError, match=why):
        _numbered_pieces.read(tmp_path / "model")


def test_a_fast_tokenizer_is_taken_as_it_is(tmp_path: Path) -> None:
    numbered_pieces.write_tokenizer(tmp_path / "model", "marian")
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps({}))
    assert _numbered_pieces.read(tmp_path / "model") is None


def written_by_transformers(folder: Path, texts: Sequence[str]) -> list[tuple[str, int]]:
    from transformers import AutoModelForSeq2SeqLM

    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), of_transformers(folder)
    found = []
    for text in texts:
        with torch.inference_mode():
            (ids,) = model.generate(**tokenizer(text, return_tensors="pt"))[:, 1:].tolist()
        found.append((tokenizer.decode(ids, skip_special_tokens=True), len(ids)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torchscript", "onnx"])
def test_three_lines_of_recipe_build_it_and_it_writes_what_generate_writes(
    tmp_path: Path, runtime: str
) -> None:
    numbered_pieces.write_marian(tmp_path / "model", num_beams=3, max_length=20)
    recipe = {
        "name": "x", "task": "text_to_text", "runtime": runtime,
        "source": {"huggingface": str(tmp_path / "model")},
    }  # fmt: skip
    report = build(recipe, tmp_path / "store")
    assert report is not None
    assert report.ladder[0].name == "untouched"
    alone = without_transformers(tmp_path)
    with Harness(tmp_path / "store" / "x.mar", batch_size=4, env=alone) as worker:
        found = [each.json() for each in worker.predict([Request.json({"data": t}) for t in SAID])]
    wanted = written_by_transformers(tmp_path / "model", SAID)
    assert [(each["text"], each["tokens"]) for each in found] == wanted
    assert len({text for text, _ in wanted}) > 2
