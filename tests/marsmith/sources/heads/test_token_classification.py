"""Folders of transformers' token classifiers: with a short recipe they answer as its pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.token_classification import TokenClassification
from handlers.tasks.token_classification import TokenClassificationOptions as Options
from marsmith.cache import Cache
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.sources.huggingface import HuggingFace
from tests.support.in_batches import answers_in_batches
from tests.support.transformers_tokenizers import (
    SIZES,
    write_bert_tokenizer,
    write_roberta_tokenizer,
)

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
PARTS_OF_SPEECH = ["NOUN", "VERB", "DET"]
HOW = ["none", "simple", "first", "average", "max"]
TEXTS = ["", "the größte CAT", "dogs a cats, the gro", "the cat a dogs " * 3, "  the   cats "]


def bert(folder: Path, labels: list[str]) -> None:
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig(
        vocab_size=13, max_position_embeddings=40, intermediate_size=16, initializer_range=0.7,
        id2label=dict(enumerate(labels)), **SIZES,
    )  # fmt: skip
    BertForTokenClassification(config).save_pretrained(folder)
    write_bert_tokenizer(folder)


def distilbert(folder: Path, labels: list[str]) -> None:
    from transformers import DistilBertConfig, DistilBertForTokenClassification

    config = DistilBertConfig(
        vocab_size=13, max_position_embeddings=40, n_layers=2, n_heads=2, dim=16, hidden_dim=16,
        initializer_range=0.7, id2label=dict(enumerate(labels)),
    )  # fmt: skip
    DistilBertForTokenClassification(config).save_pretrained(folder)
    write_bert_tokenizer(folder)


def roberta(folder: Path, labels: list[str]) -> None:
    from transformers import RobertaConfig, RobertaForTokenClassification

    config = RobertaConfig(
        vocab_size=263, max_position_embeddings=66, type_vocab_size=1, intermediate_size=16,
        initializer_range=0.7, id2label=dict(enumerate(labels)), **SIZES,
    )  # fmt: skip
    RobertaForTokenClassification(config).save_pretrained(folder)
    write_roberta_tokenizer(folder)


def texts_for(make: Callable[..., None]) -> list[str]:
    """TEXTS; for tokens of bytes ASCII alone: transformers finds halves of letters, we don't."""
    return [text.encode("ascii", "ignore").decode() if make is roberta else text for text in TEXTS]


def of_transformers(
    texts: list[str], folder: Path, how: str
) -> list[list[tuple[str, float, int, int]]]:
    """Label, score, start and end of what its pipeline finds in each text."""
    from transformers import pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        find = pipeline("token-classification", model=str(folder), aggregation_strategy=how)
        found: list[list[dict[str, Any]]] = [list(find(text)) for text in texts]
    key = "entity" if how == "none" else "entity_group"
    return [
        [
            (one[key], one["score"], one["start"], one["end"])
            for one in each
            if text[one["start"] : one["end"]].strip()  # blanks are no find of ours
        ]
        for text, each in zip(texts, found, strict=True)
    ]


def check(texts: list[str], answers: list[dict[str, Any]], folder: Path, how: str) -> None:
    reference = of_transformers(texts, folder, how)
    for text, answer, wanted in zip(texts, answers, reference, strict=True):
        found = answer["entities"]
        assert [each["label"] for each in found] == [label for label, *_ in wanted]
        assert [each["score"] for each in found] == pytest.approx(
            [score for _, score, *_ in wanted], abs=1e-4
        )
        assert [each["text"] for each in found] == [
            text[start:end].strip() for *_, start, end in wanted
        ]
        for each in found:
            assert each["text"] == text[each["start"] : each["end"]]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("labels", [BIO, PARTS_OF_SPEECH], ids=["bio", "plain"])
@pytest.mark.parametrize("make", [bert, distilbert, roberta])
def test_a_folder_answers_as_transformers_does(
    tmp_path: Path, make: Callable[..., None], labels: list[str], how: Any
) -> None:
    torch.manual_seed(0)
    make(folder := tmp_path / "model", labels)
    source = HuggingFace(huggingface=folder, head="token_classification")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    handler: TokenClassification = tasks.find("token_classification")()
    handler.configure({"task": "token_classification", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    options = Options(aggregation=how)
    texts = texts_for(make)
    samples = [handler.decode(text, options) for text in texts]
    check(texts, answers_in_batches(handler, samples), folder, how)


@pytest.mark.slow
@pytest.mark.parametrize("make", [bert, distilbert])
def test_its_archive_does_too(tmp_path: Path, make: Callable[..., None]) -> None:
    torch.manual_seed(0)
    make(folder := tmp_path / "model", BIO)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: x\ntask: token_classification\nsource: {{huggingface: {folder}}}\n")
    build(reading.load(recipe), tmp_path / "store")
    with Harness(tmp_path / "store" / "x.mar", batch_size=8) as harness:
        found = harness.predict([Request.json({"data": text}) for text in TEXTS])
    assert all(response.status == 200 for response in found)
    check(TEXTS, [response.json() for response in found], folder, "simple")
