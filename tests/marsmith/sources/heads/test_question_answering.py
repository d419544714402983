"""Folders of transformers' models for questions: with a short recipe they answer as they say.

Its pipeline for them is gone since version 5; `answers_of` scores as that did.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.question_answering import QuestionAnswering
from handlers.tasks.question_answering import QuestionAnsweringOptions as Options
from marsmith.cache import Cache
from marsmith.errors import BuildError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.original import prepare
from marsmith.recipe import reading
from marsmith.sources.huggingface import HuggingFace
from tests.support.in_batches import answers_in_batches
from tests.support.transformers_tokenizers import (
    SIZES,
    write_bert_tokenizer,
    write_roberta_tokenizer,
)

QUESTIONS = [
    ("the cat", "a dog, the cats größte dog a the cat"),
    ("a dogs", "the"),
    ("the", " ".join(random.Random(0).choices(["the", "dogs", "a", "cat", "x"], k=90))),  # windows
    ("dog", ""),
]


def bert(folder: Path) -> None:
    from transformers import BertConfig, BertForQuestionAnswering

    config = BertConfig(
        vocab_size=13, max_position_embeddings=40, intermediate_size=16, initializer_range=0.7,
        **SIZES,
    )  # fmt: skip
    BertForQuestionAnswering(config).save_pretrained(folder)
    write_bert_tokenizer(folder)


def distilbert(folder: Path) -> None:
    from transformers import DistilBertConfig, DistilBertForQuestionAnswering

    config = DistilBertConfig(
        vocab_size=13, max_position_embeddings=40, n_layers=2, n_heads=2, dim=16, hidden_dim=16,
        initializer_range=0.7,
    )  # fmt: skip
    DistilBertForQuestionAnswering(config).save_pretrained(folder)
    write_bert_tokenizer(folder)


def answers_of(folder: Path, question: str, context: str, options: Options) -> list[Any]:
    """(score, start, end), best first, as `QuestionAnsweringPipeline` of version 4 found them.

    With `align_to_words=False`; what two windows share counts once.
    """
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    encoded = tokenizer(
        question, context, truncation="only_second", max_length=40, stride=20,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    found: dict[tuple[int, int], float] = {}
    none = np.float64(1e6)
    takes = [name for name in tokenizer.model_input_names if name in encoded]
    if "distilbert" in model.config.model_type:
        takes = ["input_ids", "attention_mask"]
    for window, offsets in enumerate(encoded["offset_mapping"]):
        with torch.inference_mode():
            said = model(**{name: torch.tensor([encoded[name][window]]) for name in takes})
        inside = np.array([each == 1 for each in encoded.sequence_ids(window)])
        known = inside.copy()
        known[0] = True  # [CLS]
        starts, ends = (
            np.where(known, logits[0].numpy(), -10000.0)
            for logits in (said.start_logits, said.end_logits)
        )
        starts, ends = (np.exp(each - each.max()) for each in (starts, ends))
        starts, ends = starts / starts.sum(), ends / ends.sum()
        none = min(none, starts[0] * ends[0])
        scores = np.tril(np.triu(np.outer(starts, ends)), options.max_answer_tokens - 1)
        for first, last in np.argwhere(inside[:, None] & inside[None] & (scores > 0)):
            place = offsets[first][0], offsets[last][1]
            found[place] = max(found.get(place, 0.0), scores[first, last])
    if options.no_answer:
        found[0, 0] = none
    best = sorted(found.items(), key=lambda each: (-np.log(each[1]).round(4), each[0]))
    return [(score, *place) for place, score in best[: options.top_k]]


def check(answers: list[Any], folder: Path, options: Options) -> None:
    for (question, context), answer in zip(QUESTIONS, answers, strict=True):
        wanted = answers_of(folder, question, context, options)
        found = answer["answers"]
        assert [each["score"] for each in found] == pytest.approx([e[0] for e in wanted], abs=1e-4)
        assert [(each["start"], each["end"]) for each in found] == [e[1:] for e in wanted]
        for each in found:
            assert each["answer"] == context[each["start"] : each["end"]]


@pytest.mark.parametrize("make", [bert, distilbert])
@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(top_k=5, no_answer=True),
        Options(top_k=3, max_answer_tokens=1),
        Options(no_answer=True),
    ],
)
def test_a_folder_answers_as_transformers_did(
    tmp_path: Path, make: Callable[..., None], options: Options
) -> None:
    torch.manual_seed(0)
    make(folder := tmp_path / "model")
    source = HuggingFace(huggingface=folder, head="question_answering")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    settings = source.bring(module, out, {})
    assert (settings["max_tokens"], settings["overlap"]) == (40, 20)
    assert settings.get("token_types", False) == (make is bert)
    handler: QuestionAnswering = tasks.find("question_answering")()
    handler.configure({"task": "question_answering", **settings}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    samples = [handler.decode(pair, options) for pair in QUESTIONS]
    check(answers_in_batches(handler, samples), folder, options)


@pytest.mark.slow
@pytest.mark.parametrize("make", [bert, distilbert])
def test_its_archive_does_too(tmp_path: Path, make: Callable[..., None]) -> None:
    torch.manual_seed(0)
    make(folder := tmp_path / "model")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: x\ntask: question_answering\nsource: {{huggingface: {folder}}}\n")
    build(reading.load(recipe), tmp_path / "store")
    with Harness(tmp_path / "store" / "x.mar", batch_size=8) as harness:
        found = harness.predict(
            [Request.json({"question": each, "context": text}) for each, text in QUESTIONS]
        )
    assert all(response.status == 200 for response in found)
    check([response.json() for response in found], folder, Options())


def short() -> list[bytes]:
    return [b'{"question": "a", "context": "the cat"}']


def test_too_few_positions_for_its_own_example_are_refused_before_it_is_converted(
    tmp_path: Path,
) -> None:
    from transformers import RobertaConfig, RobertaForQuestionAnswering

    config = RobertaConfig(
        vocab_size=263, max_position_embeddings=40, type_vocab_size=1, intermediate_size=16, **SIZES
    )
    RobertaForQuestionAnswering(config).save_pretrained(tmp_path / "model")
    write_roberta_tokenizer(tmp_path / "model")
    recipe = {
        "name": "m", "task": "question_answering",
        "source": {"huggingface": str(tmp_path / "model")},
        "evaluation": {"data": f"{__name__}:short"},
    }  # fmt: skip
    (tmp_path / "work").mkdir()
    with pytest.raises(BuildError, match=r"own example.* no room for both texts in 38 tokens"):
        prepare(reading.load(recipe), tmp_path, tmp_path / "work", lambda line: None)
