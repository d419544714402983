"""Texts in, vectors out: everything but a real model's meaning."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from handlers import batching, tasks
from handlers.errors import BadRequest, LoadError, ModelError
from handlers.protocols import writing
from handlers.protocols.exchange import Exchange
from handlers.protocols.parsed_request import ParsedRequest
from handlers.runtimes import Tensors
from handlers.runtimes.eager import ModuleRuntime
from handlers.task import Sample
from handlers.tasks.text_embedding import (
    Comparison,
    TextEmbedding,
    TextEmbeddingOptions,
    Texts,
    TextVector,
)
from tests.support.answers import plain
from tests.support.tokenizer_files import WORDS, write_tokenizer

WIDTH = 16
TEXTS = ["", "one", "two three", "one " * 20, "six five four", "two " * 70, "one"]


class Encoder(nn.Module):
    """Attention over what isn't masked: tokens and mask, (N, T), to states, (N, T, 16)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(len(WORDS), WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x = self.embedding(input_ids)
        states: torch.Tensor = x + self.attention(x, x, x, key_padding_mask=attention_mask == 0)[0]
        return states


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    write_tokenizer(made / "tokenizer.json")
    return made


def configured(folder: Path, **section: Any) -> TextEmbedding:
    handler: TextEmbedding = tasks.find("text_embedding")()
    handler.configure({"task": "text_embedding", **section}, folder)
    handler.use(ModuleRuntime(Encoder().eval(), torch.device("cpu")), batch_size=8)
    return handler


@pytest.fixture(scope="module")
def handler(folder: Path) -> TextEmbedding:
    return configured(folder, max_tokens=48)


def embed(handler: TextEmbedding, texts: Sequence[Any], limit: int = 8) -> list[TextVector]:
    def predict(group: Any) -> Any:
        return handler.answer(handler.inference(handler.collate(group)), group)

    samples = [handler.decode(each, TextEmbeddingOptions()) for each in texts]
    answers = batching.run(samples, predict, key=handler.group_key, limit=limit)
    given = [answer for answer in answers if isinstance(answer, TextVector)]
    assert len(given) == len(answers), answers
    return given


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_in_company_each_text_is_answered_as_alone(folder: Path, pooling: str) -> None:
    handler = configured(folder, pooling=pooling, max_tokens=64)
    alone = [embed(handler, [each])[0] for each in TEXTS]

    @given(st.lists(st.sampled_from(range(len(TEXTS))), min_size=1, max_size=12))
    def check(chosen: list[int]) -> None:
        for index, answer in zip(chosen, embed(handler, [TEXTS[i] for i in chosen]), strict=True):
            assert answer.embedding == pytest.approx(alone[index].embedding, abs=1e-5)
            assert answer.tokens == alone[index].tokens

    check()
    assert [answer.tokens for answer in alone] == [2, 3, 4, 22, 5, 64, 3]
    assert [answer.truncated for answer in alone] == [False] * 5 + [True, False]


PIECES = st.sampled_from(["one", "two ", "größe", "模型 три", "👩‍🔬", "six " * 40, ""])
LONG = st.lists(PIECES, max_size=4).map(" ".join)
ASKED = LONG | LONG.map(str.encode) | st.fixed_dictionaries({"text": LONG}, optional={
    "compare_with": st.lists(LONG, max_size=4) | LONG | st.lists(LONG).map(json.dumps)
})  # fmt: skip


@given(st.lists(ASKED, min_size=1, max_size=8), st.integers(1, 8))
def test_compared_in_company_as_alone(
    handler: TextEmbedding, asked: list[Any], batch_size: int
) -> None:
    handler.use(handler.runtime, batch_size=batch_size)
    for instance, answer in zip(asked, embed(handler, asked), strict=True):
        (alone,) = embed(handler, [instance])
        assert answer.embedding == pytest.approx(alone.embedding, abs=1e-5)
        assert (answer.tokens, answer.truncated) == (alone.tokens, alone.truncated)
        others = instance.get("compare_with") if isinstance(instance, dict) else None
        assert isinstance(answer, Comparison) == (others is not None)
        if isinstance(answer, Comparison) and isinstance(others, list):
            vectors = [each.embedding for each in embed(handler, others)]
            wanted = torch.tensor(vectors).reshape(-1, WIDTH) @ torch.tensor(answer.embedding)
            assert answer.similarities == pytest.approx(wanted.tolist(), abs=1e-5)


def test_a_text_is_compared_with_others(folder: Path) -> None:
    handler = configured(folder, normalise=False, max_tokens=16)
    asked: list[Any] = [
        {"text": "one two", "compare_with": ["one two", "three", "six " * 20]},
        {"text": "three", "compare_with": "three"},
        {"text": b"three", "compare_with": b'["one", "three"]'},
        {"text": "three", "compare_with": []},
    ]
    first, second, third, fourth = (plain(each.to_json()) for each in embed(handler, asked))
    assert first["similarities"][0] == pytest.approx(1, abs=1e-5)
    assert max(first["similarities"][1:]) < 0.99
    assert (first["tokens"], first["truncated"], second["truncated"]) == (4, True, False)
    assert second["similarities"] == pytest.approx([1], abs=1e-5)
    assert third["similarities"][1] == pytest.approx(1, abs=1e-5)
    assert fourth["similarities"] == []


@pytest.mark.parametrize(
    ("instance", "status", "words"),
    [
        ({"compare_with": ["a"]}, 400, "no 'text'"),
        ({"text": "a", "compare": ["a"]}, 422, "did you mean 'compare_with'"),
        ({"text": "a", "compare_with": 7}, 400, "must be a list of texts, not an integer"),
        ({"text": "a", "compare_with": ["a", None]}, 400, "not null"),
        ({"text": "a", "compare_with": "[[1]]"}, 400, "not a list"),
        ({"text": "a", "compare_with": ["a"] * 4}, 413, "4 texts to compare with; at most 3"),
    ],
    ids=range(6),
)
def test_what_cannot_be_compared_is_told(
    folder: Path, instance: Any, status: int, words: str
) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        configured(folder, max_compared=3).decode(instance, TextEmbeddingOptions())
    assert caught.value.status == status


def test_a_text_that_begins_as_a_list_does_is_one_text(folder: Path) -> None:
    for other in ("[1] as said", "[" * 9999):
        sample = configured(folder).decode(
            {"text": "a", "compare_with": other}, TextEmbeddingOptions()
        )
        assert len(sample.meta.lengths) == 2


def test_a_request_of_too_many_comparisons_is_refused(folder: Path) -> None:
    handler = configured(folder, max_instances=8)
    handler.screen([{"text": "a", "compare_with": [""] * 4}] * 2)
    with pytest.raises(BadRequest, match="9 texts to compare with in one request; at most 8"):
        handler.screen([{"text": "a", "compare_with": [""] * 3}] * 3)


def never(inputs: Tensors) -> Tensors:
    raise AssertionError


def test_comparisons_end_when_there_is_no_time_left(folder: Path) -> None:
    handler = configured(folder)
    handler.use(never, seconds=-1.0)
    late = Exchange({"body": {"text": "a", "compare_with": ["b"] * 3}})
    handler.answer_all([late])
    assert late.status == 503
    assert b"no time left" in (late.body or b"")


def test_vectors_have_length_one_unless_told_otherwise(folder: Path) -> None:
    for answer in embed(configured(folder), TEXTS):
        assert torch.tensor(answer.embedding).norm() == pytest.approx(1, abs=1e-5)
    (raw,) = embed(configured(folder, normalise=False), ["one"])
    assert torch.tensor(raw.embedding).norm() != pytest.approx(1, abs=1e-2)


def test_states_of_tokens_are_pooled_without_the_padding(folder: Path) -> None:
    states = torch.tensor([[[1.0, 3], [3, 5], [9, 9]], [[9.0, 7], [9, 7], [9, 7]]])
    for pooling, wanted in (("mean", [[2, 4], [9, 7]]), ("cls", [[1, 3], [9, 7]])):
        handler = configured(folder, pooling=pooling, normalise=False)
        samples = [
            Sample({}, TextEmbeddingOptions(), Texts([n], truncated=False, compared=False))
            for n in (2, 3)
        ]
        answers = handler.answer({"states": states}, samples)
        assert [each.embedding for each in answers] == wanted


def test_what_a_model_has_pooled_is_taken_as_it_is(folder: Path) -> None:
    handler = configured(folder)
    sample = handler.decode("one", TextEmbeddingOptions())
    (answer,) = handler.answer({"x": torch.tensor([[3.0, 4]])}, [sample])
    vector = pytest.approx([0.6, 0.8], abs=1e-6)
    assert answer.to_json() == {"embedding": vector, "tokens": 3, "truncated": False}


@pytest.mark.parametrize("shape", [(1,), (1, 2, 3, 4)])
def test_a_model_that_is_no_embedder_is_told(folder: Path, shape: tuple[int, ...]) -> None:
    handler = configured(folder)
    with pytest.raises(ModelError, match=r"an embedding is \(N, D\)"):
        handler.answer({"x": torch.zeros(shape)}, [handler.decode("one", TextEmbeddingOptions())])


def test_answers_in_every_protocol(folder: Path) -> None:
    answers = embed(configured(folder), ["one", "two three"])

    def written(protocol: Any) -> Any:
        request = ParsedRequest(protocol, ["one", "two three"])
        names = {"model_name": "m", "model_version": "1"}
        return json.loads(writing.write(request, answers, **names).body)

    first = written("raw")
    assert (len(first["embedding"]), first["tokens"], first["truncated"]) == (WIDTH, 3, False)
    assert written("v1")["predictions"][0] == first
    vectors, tokens, truncated = written("v2")["outputs"]
    assert (vectors["shape"], vectors["datatype"]) == ([2, WIDTH], "FP32")
    assert vectors["data"][:WIDTH] == first["embedding"]
    assert (tokens["data"], truncated["datatype"]) == ([3, 4], "BOOL")
    assert plain(TextVector.schema())["properties"]["embedding"]["type"] == "array"


def test_the_example_and_what_it_takes(folder: Path) -> None:
    handler = configured(folder, max_tokens=32)
    media_type, body = handler.example()
    assert media_type == "text/plain"
    assert handler.decode(body, TextEmbeddingOptions()).tensors["input_ids"].shape[1] > 10
    assert json.loads(json.dumps(handler.describe_input()))["max_tokens"] == 32
    batch = handler.collate([handler.decode(body, TextEmbeddingOptions())])
    assert handler.varying_axes() == dict.fromkeys(batch, (1,))


def test_too_much_text_is_refused_before_any_is_tokenised(folder: Path) -> None:
    handler = configured(folder, max_characters=10)
    handler.screen(["12345", b"12345"])
    with pytest.raises(BadRequest, match="at most 10"):
        handler.screen(["12345", b"123456"])


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"tokenizer": "vocab.txt"}, "no tokenizer vocab.txt"),
        ({"pooling": "max"}, "must be one of 'mean', 'cls'"),
        ({"max_tokens": 0}, "must be at least 1"),
        ({"normalize": True}, "did you mean 'normalise'"),
        ({"defaults": {"truncate": 1}}, "must be true or false"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    folder: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError, match=words):
        configured(folder, **section)
