"""A handler that loads a folder of transformers' is told of, and what it holds is built."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from marsmith.errors import BuildError
from marsmith.foreign.adopt import adopt
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from tests.support import foreign_archives as foreign
from tests.support.command import marsmith
from tests.support.transformers_tokenizers import SIZES, write_bert_tokenizer

LABELS = {0: "no", 1: "maybe", 2: "yes"}
TEXTS = ("the cat", "a dog", "grotes cats the dog a", "cat cat")
HANDLER = """
import json
import os

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from ts.torch_handler.base_handler import BaseHandler


class Texts(BaseHandler):
    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        with open(os.path.join(folder, "setup_config.json")) as file:
            self.settings = json.load(file)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.manifest, self.initialized = context.manifest, True

    def preprocess(self, rows):
        texts = [row["body"] for row in rows]
        return self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.settings["max_length"],
            return_tensors="pt",
        )

    def inference(self, inputs):
        with torch.no_grad():
            return self.model(**inputs).logits

    def postprocess(self, logits):
        return [self.model.config.id2label[number] for number in logits.argmax(1).tolist()]
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("theirs")
    write_bert_tokenizer(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=13, intermediate_size=32, initializer_range=2.0, id2label=LABELS,
        label2id={label: number for number, label in LABELS.items()}, **SIZES,
    )  # fmt: skip
    BertForSequenceClassification(config).eval().save_pretrained(folder)
    extra = [file.name for file in folder.iterdir() if file.suffix == ".json"]
    files = {"texts_handler.py": HANDLER, "setup_config.json": '{"max_length": 32}'}
    return foreign.pack(
        folder, "texts_handler.py", files, model="model.safetensors",
        extra=[*extra, "setup_config.json"],
    )  # fmt: skip


def test_it_says_what_to_build(theirs: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"BertForSequenceClassification: unzip it and `marsmith"):
        adopt(theirs, tmp_path / "out")


@pytest.mark.slow
def test_what_is_built_answers_as_in_torchserves_worker(theirs: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(theirs) as archive:
        archive.extractall(tmp_path / "birds")
    options = ("--task", "text_classification", "--candidate", "onnx:fp32")
    places = ("--out", tmp_path / "birds.yaml", "--model-store", tmp_path / "store")
    marsmith("build", tmp_path / "birds", *options, *places)
    with Harness(theirs) as harness:
        asked = [Request.raw(text.encode(), "text/plain") for text in TEXTS]
        said = [harness.predict([each])[0].body.decode() for each in asked]
    with Harness(tmp_path / "store" / "birds.mar") as harness:
        answers = [harness.predict([each])[0].json() for each in asked]
    assert [next(iter(each["scores"])) for each in answers] == said
    assert len(set(said)) > 1
