"""Folders of transformers' classifiers: built with a short recipe, they answer as it does."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.text_classification import TextClassification
from marsmith.cache import Cache
from marsmith.errors import BuildError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.sources.heads.text_classification import bring, wrap
from marsmith.sources.huggingface import HuggingFace
from tests.support.cross_encoders import IDENTITY, as_the_library_saves, say
from tests.support.in_batches import answers_in_batches
from tests.support.transformers_tokenizers import (
    SIZES,
    write_bert_tokenizer,
    write_roberta_tokenizer,
)

LABELS = {0: "good", 1: "bad", 2: "neither"}
TEXTS: list[Any] = [
    "",
    "the größte CAT",
    "dog " * 100,
    {"text": "the cat", "text_pair": "a dog"},
    {"text": "the cat " * 30, "text_pair": "a dog " * 4},
]


def bert(folder: Path, **settings: Any) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=13, max_position_embeddings=40, intermediate_size=16, **SIZES, **settings
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    write_bert_tokenizer(folder)


def distilbert(folder: Path, **settings: Any) -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(
        vocab_size=13, max_position_embeddings=40, n_layers=2, n_heads=2, dim=16, hidden_dim=16,
        **settings,
    )  # fmt: skip
    DistilBertForSequenceClassification(config).save_pretrained(folder)
    write_bert_tokenizer(folder)


def roberta(folder: Path, **settings: Any) -> None:
    from transformers import RobertaConfig, RobertaForSequenceClassification

    config = RobertaConfig(
        vocab_size=263, max_position_embeddings=42, type_vocab_size=1, intermediate_size=16,
        **SIZES, **settings,
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(folder)
    write_roberta_tokenizer(folder)


def electra(folder: Path, **settings: Any) -> None:
    from transformers import ElectraConfig, ElectraForSequenceClassification

    config = ElectraConfig(
        vocab_size=13, max_position_embeddings=40, embedding_size=8, intermediate_size=16,
        **SIZES, **settings,
    )  # fmt: skip
    ElectraForSequenceClassification(config).save_pretrained(folder)
    write_bert_tokenizer(folder)


def albert(folder: Path, **settings: Any) -> None:
    from transformers import AlbertConfig, AlbertForSequenceClassification

    config = AlbertConfig(
        vocab_size=13, max_position_embeddings=40, embedding_size=8, intermediate_size=16,
        **SIZES, **settings,
    )  # fmt: skip
    AlbertForSequenceClassification(config).save_pretrained(folder)
    write_bert_tokenizer(folder)


def deberta(folder: Path, **settings: Any) -> None:
    """With distances in buckets, as DeBERTa-v3 has them."""
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    said: dict[str, Any] = {
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
    }
    config = DebertaV2Config(
        vocab_size=13, max_position_embeddings=40, intermediate_size=16, type_vocab_size=0,
        relative_attention=True, pos_att_type=["p2c", "c2p"], position_biased_input=False,
        **said, **SIZES, **settings,
    )  # fmt: skip
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    write_bert_tokenizer(folder)


def mpnet(folder: Path, **settings: Any) -> None:
    from transformers import MPNetConfig, MPNetForSequenceClassification

    config = MPNetConfig(
        vocab_size=263, max_position_embeddings=42, intermediate_size=16, **SIZES, **settings
    )
    MPNetForSequenceClassification(config).save_pretrained(folder)
    write_roberta_tokenizer(folder)


def gpt2(folder: Path, **settings: Any) -> None:
    """Answers from a text's last token, which it finds by what it is padded with."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(
        vocab_size=263, n_positions=40, n_embd=16, n_layer=2, n_head=2, pad_token_id=2, **settings
    )
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    write_roberta_tokenizer(folder)


def xlnet(folder: Path, **settings: Any) -> None:
    from transformers import XLNetConfig, XLNetForSequenceClassification

    config = XLNetConfig(
        vocab_size=263, d_model=16, n_layer=2, n_head=2, d_inner=16, pad_token_id=1, **settings
    )
    XLNetForSequenceClassification(config).save_pretrained(folder)
    write_roberta_tokenizer(folder)


def saved(folder: Path, make: Callable[..., None], **settings: Any) -> Path:
    """A folder with random weights that are far from each other, and their tokenizer."""
    torch.manual_seed(0)
    make(folder, initializer_range=0.7, **settings)
    return folder


def answers_of_transformers(folder: Path) -> list[dict[str, float]]:
    """Label to score for each of TEXTS."""
    from transformers import pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classify = pipeline("text-classification", model=str(folder), top_k=None)
        limits = {"truncation": True, "max_length": 40}
        found = [classify(each, **limits) for each in TEXTS]
    found = [each[0] if isinstance(each[0], list) else each for each in found]
    return [{one["label"]: one["score"] for one in each} for each in found]


def check(answers: list[dict[str, Any]], folder: Path) -> None:
    for answer, wanted in zip(answers, answers_of_transformers(folder), strict=True):
        assert answer["scores"] == pytest.approx(wanted, abs=1e-4)
        assert list(answer["scores"]) == sorted(wanted, key=lambda name: -wanted[name])
    assert [each["truncated"] for each in answers] == [False, False, True, False, True]


@pytest.mark.parametrize("make", [bert, distilbert, roberta, mpnet, gpt2])
def test_a_folder_answers_as_transformers_does(tmp_path: Path, make: Callable[..., None]) -> None:
    folder = saved(tmp_path / "model", make, id2label=LABELS)
    source = HuggingFace(huggingface=folder, head="text_classification")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    handler: TextClassification = tasks.find("text_classification")()
    handler.configure({"task": "text_classification", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    samples = [handler.decode(each, handler.default_options) for each in TEXTS]
    check(answers_in_batches(handler, samples), folder)


@pytest.mark.parametrize(
    ("make", "said", "own", "words"),
    [
        (xlnet, {}, {}, "depends on how it is padded"),
        (bert, {"id2label": {1: "good", 2: "bad"}}, {}, r"'id2label' .* must run from 0"),
        (bert, {}, {"max_tokens": 41}, "'max_tokens' is 41; the model has 40 positions"),
    ],
)
def test_what_cannot_be_served_is_told_at_build(
    tmp_path: Path,
    make: Callable[..., None],
    said: dict[str, Any],
    own: dict[str, Any],
    words: str,
) -> None:
    folder = saved(tmp_path / "model", make, **said)
    source = HuggingFace(huggingface=folder, head="text_classification")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    with pytest.raises(BuildError, match=words):
        source.bring(module, out, own)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "said", "runtime"),
    [
        (bert, {"id2label": LABELS}, "torchscript"),
        (roberta, {"id2label": LABELS}, "torchscript"),
        (distilbert, {"num_labels": 1}, "torchscript"),
        (distilbert, {"problem_type": "multi_label_classification"}, "torchscript"),
        *((make, {}, "onnx") for make in (roberta, distilbert, electra, albert, deberta)),
    ],
)
def test_its_archive_does_too(
    tmp_path: Path, make: Callable[..., None], said: dict[str, Any], runtime: str
) -> None:
    folder, recipe = saved(tmp_path / "model", make, **said), tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: x\ntask: text_classification\nsource: {{huggingface: {folder}}}\n"
        f"runtime: {runtime}\n"
    )
    build(reading.load(recipe), tmp_path / "store")
    with Harness(tmp_path / "store" / "x.mar", batch_size=8) as harness:
        together = harness.predict([Request.json({"data": text}) for text in TEXTS])
    assert all(response.status == 200 for response in together)
    check([response.json() for response in together], folder)


@pytest.mark.parametrize(
    ("make", "said", "wanted"),
    [
        (bert, {}, {"token_types": True, "activation": "softmax"}),
        (distilbert, {"num_labels": 1}, {"activation": "sigmoid"}),
        (distilbert, {"num_labels": 1, "problem_type": "regression"}, {"activation": "none"}),
        (roberta, {"problem_type": "multi_label_classification"}, {"activation": "sigmoid"}),
    ],
)
def test_what_comes_with_a_folder(
    tmp_path: Path, make: Callable[..., None], said: dict[str, Any], wanted: dict[str, Any]
) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = saved(tmp_path, make, **said)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    (out := tmp_path / "out").mkdir()
    found = bring(wrap(model, folder), folder, out)
    assert (
        found == {"tokenizer": "tokenizer.json", "labels": "labels.json", "max_tokens": 40} | wanted
    )
    assert len(json.loads((out / "labels.json").read_text())) == said.get("num_labels", 2)


def cross_encoder(
    folder: Path, out: Path, form: str, classes: int, make: Callable[..., None]
) -> Path:
    """A folder that says, in one of three forms, that its logits are its scores."""
    saved(folder, make, num_labels=classes)
    if form == "config_sentence_transformers.json":
        return as_the_library_saves(folder, out, torch.nn.Identity())
    old = form == "sbert_ce_default_activation_function"
    return say(folder, **{form: IDENTITY if old else {"activation_fn": IDENTITY}})


@pytest.mark.parametrize(
    ("form", "classes", "make"),
    [
        ("config_sentence_transformers.json", 1, bert),
        ("sentence_transformers", 3, roberta),
        ("sbert_ce_default_activation_function", 1, distilbert),
    ],
)
def test_a_cross_encoder_answers_as_its_own_library_does(
    tmp_path: Path, form: str, classes: int, make: Callable[..., None]
) -> None:
    from sentence_transformers import CrossEncoder

    folder = cross_encoder(tmp_path / "model", tmp_path / "out", form, classes, make)
    source = HuggingFace(huggingface=folder, head="text_classification")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "brought").mkdir()
    section = {"task": "text_classification", **source.bring(module, out, {})}
    handler: TextClassification = tasks.find("text_classification")()
    handler.configure(section, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    answers = answers_in_batches(
        handler, [handler.decode(each, handler.default_options) for each in TEXTS]
    )
    library = CrossEncoder(str(folder), device="cpu", local_files_only=True, max_length=40)
    own = source.untouched(TEXTS, section, lambda line: None)
    assert own is not None
    for each, answer, told in zip(TEXTS, answers, own.answers, strict=True):
        asked = [each["text"], each["text_pair"]] if isinstance(each, dict) else each
        wanted = torch.atleast_1d(library.predict(asked, convert_to_tensor=True)).tolist()
        found = [answer["scores"][f"LABEL_{place}"] for place in range(classes)]
        assert found == pytest.approx(wanted, abs=1e-4)
        assert isinstance(told, dict)
        assert answer["scores"] == pytest.approx(told["scores"], abs=1e-4)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"sentence_transformers": {"activation_fn": "mine.Softplus"}}, "has the activation_fn"),
        ({"sbert_ce_default_activation_function": "torch.nn.Tanh"}, "has the activation_fn"),
    ],
)
def test_an_activation_function_that_is_not_known_is_refused(
    tmp_path: Path, said: dict[str, Any], words: str
) -> None:
    folder = say(saved(tmp_path / "model", bert), **said)
    source = HuggingFace(huggingface=folder, head="text_classification")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    with pytest.raises(BuildError, match=words):
        source.bring(module, out, {})
