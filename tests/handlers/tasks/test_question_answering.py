"""Questions and contexts in, answers out: everything but a real model's meaning."""

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
from handlers.errors import LoadError, ModelError
from handlers.protocols.exchange import Exchange
from handlers.runtimes import Tensors
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.question_answering import Answers, QuestionAnswering
from handlers.tasks.question_answering import QuestionAnsweringOptions as Options
from tests.support.answers import plain, same
from tests.support.in_batches import ask
from tests.support.texts import PIECES
from tests.support.tokenizer_files import write_byte_tokenizer

MAX_TOKENS = 64
TEXTS = st.lists(st.sampled_from(PIECES), max_size=5).map(" ".join)
QUESTIONS = st.sampled_from(["who?", "größe", "", "模型 👩‍🔬"])
INSTANCES = st.one_of(
    st.builds(
        lambda question, context: {"question": question, "context": context}, QUESTIONS, TEXTS
    ),
    st.tuples(QUESTIONS, TEXTS).map(list),
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "top_k": st.integers(1, 6),
        "max_answer_tokens": st.integers(1, 20),
        "no_answer": st.booleans(),
        "truncate": st.booleans(),
    },
)
BAD = st.sampled_from(
    [
        "who?",
        b'["who?"',
        {"question": "who?"},
        {"question": "who?", "context": None},
        {"question": 7, "context": "one"},
        {"question": "who?", "context": "one", "where": "here"},
        {"data": ["a", "b", "c"]},
        {"data": ["a", ["b"]]},
        {"data": "[" * 9999},
        {"data": {"question": "\ud800", "context": "one"}},
        {"data": ["who? " * 20, "one " * 30]},  # no room for the context
        {"data": ["a", "b"], "parameters": {"top_k": 10**30}},
        {"data": ["a", "b"], "parameters": {"no_answer": "maybe"}},
    ]
)


def v2(pairs: list[list[str]], options: dict[str, Any]) -> dict[str, Any]:
    """Two named tensors."""
    inputs = [
        {"name": name, "shape": [len(pairs)], "datatype": "BYTES", "data": [e[at] for e in pairs]}
        for at, name in enumerate(("question", "context"))
    ]
    return {"inputs": inputs, "parameters": options}


PAIRS = st.lists(st.tuples(QUESTIONS, TEXTS).map(list), min_size=1, max_size=3)
GOOD = st.one_of(
    st.builds(lambda one, options: {"data": one, "parameters": options}, INSTANCES, OPTIONS),
    st.builds(lambda some, options: {"instances": some, "parameters": options}, PAIRS, OPTIONS),
    st.builds(v2, PAIRS, OPTIONS),
    INSTANCES.map(lambda one: json.dumps(one).encode()),
    INSTANCES,
)


class Reader(nn.Module):
    """Attention over what isn't masked: tokens and mask, (N, T), to starts and ends.

    It computes in float64: the last bits of float32, which another batch or another CPU's kernels
    would change, decide nothing.
    """

    def __init__(self, tokens: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(tokens, 16)
        self.places = nn.Embedding(MAX_TOKENS, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.ends = nn.Linear(16, 2)
        self.double()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.embedding(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        states = x + self.attention(x, x, x, key_padding_mask=attention_mask == 0)[0]
        starts, ends = self.ends(states).float().unbind(dim=2)
        return starts, ends


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    write_byte_tokenizer(made / "tokenizer.json")
    return made


def configured(folder: Path, **section: Any) -> QuestionAnswering:
    handler: QuestionAnswering = tasks.find("question_answering")()
    handler.configure({"task": "question_answering", **section}, folder)
    handler.use(ModuleRuntime(Reader(259).eval(), torch.device("cpu")), batch_size=8)
    return handler


@pytest.fixture(scope="module")
def handler(folder: Path) -> QuestionAnswering:
    return configured(folder, max_tokens=MAX_TOKENS, overlap=16, max_windows=4)


def test_the_best_answer_is_given_however_unlikely_all_are(handler: QuestionAnswering) -> None:
    sample = handler.decode(["who?", "one two"], Options(top_k=50, max_answer_tokens=1))
    starts, ends = torch.zeros(2, 1, sample.tensors["input_ids"].shape[1])
    starts[0, 0] = ends[0, 0] = 30.0  # "there is none", which is not asked for
    (meta,) = sample.meta.tokens
    best = [at for at, sequence in enumerate(meta.sequences) if sequence == 1][5]
    starts[0, best] = ends[0, best] = 3.0
    (answer,) = handler.answer({"starts": starts, "ends": ends}, [sample])
    assert answer.starts[0] == meta.offsets[best][0]


@given(st.lists(st.one_of(GOOD, GOOD, BAD), min_size=1, max_size=8))
def test_in_any_company_each_is_answered_as_alone(
    handler: QuestionAnswering, bodies: list[Any]
) -> None:
    for body, (status, answer) in zip(bodies, ask(handler, bodies), strict=True):
        assert status in (200, 400, 413, 422)
        ((alone, wanted),) = ask(handler, [body])
        assert (status, same(answer, wanted, 1e-4)) == (alone, True)


@given(BAD)
def test_what_is_no_question_is_refused(handler: QuestionAnswering, body: Any) -> None:
    ((status, answer),) = ask(handler, [body])
    assert 400 <= status < 500
    assert len(answer["error"]) < 200


@given(QUESTIONS, TEXTS, OPTIONS)
def test_an_answer_is_where_it_says(
    handler: QuestionAnswering, question: str, context: str, options: dict[str, Any]
) -> None:
    asked = {"data": [question, context], "parameters": {**options, "truncate": True}}
    ((status, answer),) = ask(handler, [asked])
    assert status == 200
    found = answer["answers"]
    assert len(found) <= options.get("top_k", 1)
    assert bool(found) == (bool(context.strip()) or options.get("no_answer", False))
    scores = [each["score"] for each in found]
    assert scores == pytest.approx(sorted(scores, reverse=True), abs=1e-6)
    assert len({(each["start"], each["end"]) for each in found}) == len(found)
    for each in found:
        assert each["answer"] == context[each["start"] : each["end"]] == each["answer"].strip()
        assert each["answer"] or options.get("no_answer")
        assert each["answer"] not in ("\u0301", "\u200d", "👩", "🔬")


def given_logits(
    handler: QuestionAnswering, context: str, at: dict[int, Any], **options: Any
) -> Any:
    """What is made of logits of 9 at these (first, last) tokens of each window, 0 elsewhere."""
    sample = handler.decode(["?", context], Options(**options))
    logits = torch.zeros(*sample.tensors["input_ids"].shape, 2)
    for window, (first, last) in at.items():
        logits[window, first, 0] = logits[window, last, 1] = 9.0
    (answer,) = handler.answer({"logits": logits}, [sample])
    return answer.to_json()


def test_the_place_of_an_answer_is_found(handler: QuestionAnswering) -> None:
    # <s> ? </s> </s> a b c ... </s>
    answer = given_logits(handler, "ab größe cd", {0: (7, 13)})
    ((best,), truncated) = answer["answers"], answer["truncated"]
    assert (best["answer"], best["start"], best["end"], truncated) == ("größe", 3, 8, False)
    assert best["score"] > 0.9


def test_neither_question_nor_blanks_are_answers(handler: QuestionAnswering) -> None:
    assert given_logits(handler, "ab", {0: (1, 1)})["answers"][0]["answer"] in ("a", "b", "ab")
    assert given_logits(handler, "  \n", {0: (4, 6)})["answers"] == []
    assert given_logits(handler, "", {})["answers"] == []


def test_there_may_be_no_answer(handler: QuestionAnswering) -> None:
    (best,) = given_logits(handler, "ab", {0: (0, 0)}, no_answer=True)["answers"]
    assert (best["answer"], best["start"], best["end"]) == ("", 0, 0)
    assert best["score"] > 0.9
    assert given_logits(handler, "ab", {0: (0, 0)})["answers"][0]["answer"]
    long = "ab " * 30  # two windows; only one of them says that there is none
    assert given_logits(handler, long, {0: (0, 0), 1: (9, 10)}, no_answer=True)["answers"][0][
        "answer"
    ]


def test_of_two_windows_the_better_answers(handler: QuestionAnswering) -> None:
    context = "".join(chr(97 + n % 26) for n in range(100))
    answer = given_logits(handler, context, {1: (30, 32)})
    (best,) = answer["answers"]
    step = MAX_TOKENS - 5 - 16  # special tokens and the question's are in each, and the overlap
    assert (best["start"], best["end"]) == (step + 26, step + 29)


def test_more_context_than_windows_is_cut_or_refused(handler: QuestionAnswering) -> None:
    long = {"question": "?", "context": "ab " * 99}
    ((_, cut), (status, refused)) = ask(
        handler, [long, {"data": long, "parameters": {"truncate": False}}]
    )
    assert cut["truncated"]
    assert (status, "4 are allowed" in refused["error"]) == (413, True)


def test_in_every_protocol(handler: QuestionAnswering) -> None:
    pair = ["who?", "it was größe"]
    asked = dict(zip(("question", "context"), pair, strict=True))
    bodies = [asked, {"data": pair}, {"instances": [asked, pair]}, v2([pair], {})]
    ((_, raw), (_, data), (_, v1), (_, outputs)) = ask(handler, bodies)
    assert data == raw
    assert v1["predictions"] == [raw, raw]
    columns = {each["name"]: each["data"] for each in outputs["outputs"]}
    assert columns["answers"] == [each["answer"] for each in raw["answers"]]
    assert columns["truncated"] == [False]
    form = Exchange({"question": b"who?", "context": pair[1].encode(), "top_k": b"3"})
    handler.answer_all([form])
    assert form.status == 200
    assert len(json.loads(form.body or b"")["answers"]) == 3
    schema = plain(Answers.schema())["properties"]["answers"]["items"]
    assert set(schema["properties"]) == set(raw["answers"][0])


def test_the_example_and_what_it_takes(handler: QuestionAnswering) -> None:
    media_type, body = handler.example()
    ((status, _),) = ask(handler, [body])
    assert (status, media_type) == (200, "application/json")
    assert json.loads(json.dumps(handler.describe_input()))["max_tokens"] == MAX_TOKENS
    batch = handler.collate([handler.decode(body, Options())])
    assert handler.varying_axes() == dict.fromkeys(batch, (1,))


@pytest.mark.parametrize("shapes", [[(1, 7)], [(1, 7, 3)], [(1, 6), (1, 6)], [(2, 7), (2, 7)]])
def test_a_model_that_finds_no_spans_is_told(
    handler: QuestionAnswering, shapes: list[tuple[int, ...]]
) -> None:
    outputs = {str(at): torch.zeros(shape) for at, shape in enumerate(shapes)}
    with pytest.raises(ModelError, match="the model must answer"):
        handler.answer(outputs, [handler.decode(["?", "ab"], Options())])


def test_what_is_not_finite_is_the_models_fault(folder: Path) -> None:
    handler = configured(folder, max_tokens=MAX_TOKENS)
    usual, number = handler.runtime, handler.encoder.tokenizer.token_to_id("x")
    assert number is not None

    def spoiled(batch: Tensors) -> Tensors:
        wrong = batch["input_ids"].eq(number)
        return {name: each.masked_fill(wrong, torch.nan) for name, each in usual(batch).items()}

    handler.use(spoiled, batch_size=8)
    ((fine, _), (status, answer)) = ask(handler, [["?", "zz"], ["?", "xz"]])
    assert (fine, status) == (200, 500)
    assert "not finite" in answer["error"]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"tokenizer": "vocab.txt"}, "no tokenizer vocab.txt"),
        ({"max_tokens": 20, "overlap": 16}, "no room for more than an overlap of 16"),
        ({"defaults": {"top_k": 0}}, "must be at least 1"),
        ({"doc_stride": 3}, "'doc_stride' is not allowed"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    folder: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError, match=words):
        configured(folder, **section)
