"""Folders of masked language models: with a short recipe they answer as transformers' pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.fill_mask import FillMask
from handlers.tasks.fill_mask import FillMaskOptions as Options
from marsmith.cache import Cache
from marsmith.errors import BuildError
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

TEXTS = ["the {} cat", "a {} größte , {} .", "{}", "dogs the cat a dogs " * 5 + "{} !"]


def bert(folder: Path) -> str:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=13, max_position_embeddings=40, intermediate_size=16, initializer_range=0.7,
        **SIZES,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    write_bert_tokenizer(folder)
    return "[MASK]"


def roberta(folder: Path) -> str:
    from transformers import RobertaConfig, RobertaForMaskedLM

    config = RobertaConfig(
        vocab_size=263, max_position_embeddings=182, type_vocab_size=1, intermediate_size=16,
        initializer_range=0.7, **SIZES,
    )  # fmt: skip
    RobertaForMaskedLM(config).save_pretrained(folder)
    write_roberta_tokenizer(folder)
    return "<mask>"


def modernbert(folder: Path) -> str:
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    config = ModernBertConfig(
        vocab_size=263, max_position_embeddings=180, intermediate_size=16, local_attention=8,
        pad_token_id=1, bos_token_id=0, eos_token_id=2, cls_token_id=0, sep_token_id=2,
        initializer_range=0.7, **SIZES,
    )  # fmt: skip
    ModernBertForMaskedLM(config).save_pretrained(folder)
    write_roberta_tokenizer(folder)
    return "<mask>"


def check(answers: list[Any], folder: Path, texts: list[str], options: Options) -> None:
    from transformers import pipeline

    ask: Any = pipeline("fill-mask", model=str(folder))
    said = {"targets": [*options.targets]} if options.targets else {}
    for answer, text in zip(answers, texts, strict=True):
        wanted = ask(text, top_k=options.top_k, **said)
        wanted = wanted if isinstance(wanted[0], list) else [wanted]
        assert len(answer["masks"]) == len(wanted) == text.count(ask.tokenizer.mask_token)
        for row, others in zip(answer["masks"], wanted, strict=True):
            for one, other in zip(row, others, strict=True):
                assert one["score"] == pytest.approx(other.pop("score"), abs=1e-4)
                assert {**one, "score": 0} == {**other, "score": 0}


@pytest.mark.parametrize("make", [bert, roberta, modernbert])
@pytest.mark.parametrize(
    "options", [Options(), Options(top_k=9), Options(targets=("the", "dogs", "cat", "the"))]
)
def test_a_folder_answers_as_transformers_does(
    tmp_path: Path, make: Callable[[Path], str], options: Options
) -> None:
    torch.manual_seed(0)
    mask = make(folder := tmp_path / "model")
    texts = [each.replace("{}", mask) for each in TEXTS]
    source = HuggingFace(huggingface=folder, head="fill_mask")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    section = {"task": "fill_mask", **source.bring(module, out, {})}
    handler: FillMask = tasks.find("fill_mask")()
    handler.configure(section, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    samples = [handler.decode(each, options) for each in texts]
    answers = answers_in_batches(handler, samples)
    check(answers, folder, texts, options)
    if options == Options():
        own = source.untouched(texts, section, lambda line: None)
        assert own is not None
        assert own.answers[0] is not None
        for answer, told in zip(answers, own.answers, strict=True):
            if isinstance(told, dict):
                tokens = [[each["token"] for each in row] for row in answer["masks"]]
                assert tokens == [[each["token"] for each in row] for row in told["masks"]]


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path) -> None:
    bert(folder := tmp_path / "model")
    source = HuggingFace(huggingface=folder, head="fill_mask")
    module = source.load(Cache(tmp_path), lambda line: None)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "TokenizersBackend", "pad_token": "[PAD]"})
    )
    with pytest.raises(BuildError, match="has no mask"):
        source.bring(module, tmp_path, {})


@pytest.mark.slow
def test_its_archive_does_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    bert(folder := tmp_path / "model")
    texts = [each.replace("{}", "[MASK]") for each in TEXTS]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: x\ntask: fill_mask\nsource: {{huggingface: {folder}}}\n")
    build(reading.load(recipe), tmp_path / "store")
    with Harness(tmp_path / "store" / "x.mar", batch_size=8) as harness:
        found = harness.predict([Request.json({"data": each}) for each in texts])
    assert all(response.status == 200 for response in found)
    check([response.json() for response in found], folder, texts, Options())
