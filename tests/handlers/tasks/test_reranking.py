"""A query and documents in, an order and scores out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from handlers import tasks
from handlers.errors import BadRequest, LoadError, ModelError
from handlers.protocols import json_text
from handlers.runtimes import Tensors
from handlers.runtimes.eager import ModuleRuntime
from handlers.task import Sample
from handlers.tasks.reranking import Reranking
from handlers.tasks.reranking import RerankingOptions as Options
from handlers.text.pairs import Pairs
from tests.support.answers import same
from tests.support.in_batches import answers_in_batches, ask
from tests.support.tokenizer_files import WORDS, write_tokenizer

PIECES = st.sampled_from(["one", "two", "größe", "five six", "four " * 30, ""])
TEXTS = st.lists(PIECES, max_size=3).map(" ".join)
DOCUMENTS = st.lists(TEXTS, min_size=1, max_size=9)
ASKED = st.fixed_dictionaries({"query": PIECES.map("three ".__add__), "documents": DOCUMENTS})


class Net(nn.Module):
    """Tokens and mask, (N, T), to a logit: what is at some place counts by its place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(len(WORDS), 1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        places = torch.arange(1, input_ids.shape[1] + 1) ** -0.5
        logits: torch.Tensor = (self.embedding(input_ids)[..., 0] * attention_mask) @ places
        return logits[:, None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    write_tokenizer(made / "tokenizer.json", special=False)
    return made


def configured(folder: Path, **section: Any) -> Reranking:
    handler: Reranking = tasks.find("reranking")()
    handler.configure({"task": "reranking", "max_tokens": 24, **section}, folder)
    handler.use(ModuleRuntime(Net().eval(), torch.device("cpu")), batch_size=4)
    return handler


@pytest.fixture(scope="module")
def handler(folder: Path) -> Reranking:
    return configured(folder)


@given(st.lists(ASKED, min_size=1, max_size=4))
def test_each_is_ranked_as_alone_and_each_document_as_by_itself(
    handler: Reranking, asked: list[dict[str, Any]]
) -> None:
    samples = [handler.decode(each, Options()) for each in asked]
    for each, sample, answer in zip(asked, samples, answers_in_batches(handler, samples, 4),
                                    strict=True):  # fmt: skip
        (alone,) = answers_in_batches(handler, [sample])
        assert same(answer, alone, 1e-5)
        scores = [result["score"] for result in answer["results"]]
        assert scores == sorted(scores, reverse=True) or scores == pytest.approx(
            sorted(scores, reverse=True), abs=1e-4
        )
        for result in answer["results"]:
            one = {**each, "documents": [each["documents"][result["index"]]]}
            (single,) = answers_in_batches(handler, [handler.decode(one, Options())])
            assert single["results"][0]["score"] == pytest.approx(result["score"], abs=1e-5)


def test_rows_run_together_are_as_long_as_the_longest_of_them(folder: Path) -> None:
    handler, shapes = configured(folder, max_tokens=64), []
    runtime = handler.runtime

    def run(batch: Tensors) -> Tensors:
        shapes.append(tuple(batch["input_ids"].shape))
        return runtime(batch)

    handler.use(run, batch_size=2)
    documents = ["five " * count for count in (2, 40, 3, 40, 4)]
    sample = handler.decode({"query": "one", "documents": documents}, Options())
    (answer,) = answers_in_batches(handler, [sample])
    assert shapes == [(2, 48), (2, 8), (1, 8)]
    handler.use(runtime, batch_size=8)
    assert same(answers_in_batches(handler, [sample])[0], answer, 1e-5)


def ranked(handler: Reranking, logits: list[float], **options: Any) -> Any:
    documents = [f"d{place}" for place in range(len(logits))]
    sample = Sample({}, Options(**options), Pairs(documents, 9, False))
    (answer,) = handler.answer({"logits": torch.tensor(logits)}, [sample])
    return answer.to_json()


def test_what_is_nearly_the_same_stays_in_order_and_scores_near_one_do_not(
    handler: Reranking,
) -> None:
    answer = ranked(handler, [1.000001, 1.0, 1.000002, 30.0, 20.0])
    assert [each["index"] for each in answer["results"]] == [3, 4, 0, 1, 2]
    assert answer["results"][0]["score"] == 1.0
    answer = ranked(handler, [0.0, 2.0, 1.0], top_n=2, return_documents=True)
    assert answer["results"] == [
        {"index": 1, "score": pytest.approx(0.8808, abs=1e-4), "document": "d1"},
        {"index": 2, "score": pytest.approx(0.7311, abs=1e-4), "document": "d2"},
    ]


def test_scores_may_be_the_logits(folder: Path) -> None:
    answer = ranked(configured(folder, activation="none"), [0.0, -2.0])
    assert [each["score"] for each in answer["results"]] == [0.0, -2.0]


def test_in_every_protocol(handler: Reranking) -> None:
    one = {"query": "one", "documents": ["two", "three four", "five"]}
    forms = [
        one,
        {"data": one, "parameters": {"top_n": 2, "return_documents": True}},
        {"instances": [one, {**one, "documents": "six"}]},
        {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": [json.dumps(one)]}]},
        {"data": {**one, "documents": json.dumps(one["documents"])}},
    ]
    found = ask(handler, [json_text.dump(each) for each in forms])
    assert [status for status, _ in found] == [200] * len(forms)
    raw, parts, v1, v2, text = (said for _, said in found)
    assert same(text, raw, 1e-5)
    assert [set(each) for each in parts["results"]] == [{"index", "score", "document"}] * 2
    assert same(v1["predictions"][0], raw, 1e-5)
    assert len(v1["predictions"][1]["results"]) == 1
    outputs = {each["name"]: each["data"] for each in v2["outputs"]}
    assert outputs["indices"] == [each["index"] for each in raw["results"]]
    assert outputs["counts"] == [3]


@pytest.mark.parametrize(
    ("instance", "words"),
    [
        ("no JSON", "a query needs documents"),
        ([1], "must be an object, not a list"),
        ({"query": "one"}, "has no 'documents'"),
        ({"documents": ["one"]}, "has no 'query'"),
        ({"query": "one", "documents": []}, "no documents"),
        ({"query": "one", "documents": [["two"]]}, "must be a string"),
        ({"query": "one", "documents": [{"title": "two"}]}, "is not allowed"),
        ({"query": "one", "documents": {"a": "two"}}, "must be a list of texts"),
        ({"query": "\ud800", "documents": ["two"]}, "lone surrogate"),
        ({"query": "one", "documents": ["two"] * 4}, "at most 3"),
    ],
)
def test_what_is_no_query_with_documents_is_refused(
    folder: Path, instance: Any, words: str
) -> None:
    with pytest.raises(BadRequest, match=words):
        configured(folder, max_documents=3).decode(instance, Options())


def test_a_query_counts_once_for_each_document(folder: Path) -> None:
    handler = configured(folder, max_characters=30, max_instances=9)
    handler.screen([{"query": "one", "documents": ["two"] * 4}])
    for instance in ({"query": "one " * 5, "documents": ["two"] * 4}, b'{"query": "'):
        if isinstance(instance, dict):
            for form in (instance, json.dumps(instance)):
                with pytest.raises(BadRequest, match="at most 30"):
                    handler.screen([form])
        else:
            handler.screen([instance])
    with pytest.raises(BadRequest, match="10 pairs of texts in one request; at most 9"):
        handler.screen([{"query": "", "documents": [""] * 5}] * 2)


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (torch.zeros(2, 1), "to 1 pairs"),
        (torch.zeros(1, 3), "one logit, not 3"),
        (torch.full((1, 1), torch.nan), "not finite"),
    ],
)
def test_a_model_that_does_not_fit_is_told(
    handler: Reranking, logits: torch.Tensor, words: str
) -> None:
    sample = Sample({}, Options(), Pairs(["d"], 3, False))
    with pytest.raises(ModelError, match=words):
        handler.answer({"x": logits}, [sample])


def test_settings_that_cannot_work_are_refused(folder: Path) -> None:
    with pytest.raises(LoadError, match="must be one of 'sigmoid', 'none'"):
        configured(folder, activation="softmax")


def test_the_example_can_be_ranked(handler: Reranking) -> None:
    _, body = handler.example()
    ((status, answer),) = ask(handler, [body])
    assert (status, len(answer["results"])) == (200, 2)
