"""Folders of encoder–decoders write what transformers' `generate` writes, token by token."""

from __future__ import annotations

import functools
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.text_to_text import TextToText
from marsmith.cache import Cache
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


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("kind", encoder_decoders.KINDS)
def test_what_is_written_together_is_what_generate_writes_alone(
    folders: Path, kind: str, asked: str
) -> None:
    handler, model, tokenizer = loaded(folder(folders, kind))
    rows = written(handler, TEXTS, 6, **ASKED[asked])
    for text, row in zip(TEXTS, rows, strict=True):
        wanted = generated(model, tokenizer, text, **ASKED[asked])
        assert row.made == wanted, (text, row.made, wanted)
        assert row.text == tokenizer.decode(wanted, skip_special_tokens=True)
