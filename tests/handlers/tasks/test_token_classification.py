"""Texts in, entities out: everything but a real model's meaning."""

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
from handlers.runtimes import Tensors
from handlers.runtimes.eager import ModuleRuntime
from handlers.schema import json_schema
from handlers.tasks.token_classification import Entities, TokenClassification
from handlers.tasks.token_classification import TokenClassificationOptions as Options
from tests.support.answers import plain, same
from tests.support.in_batches import ask
from tests.support.texts import PIECES
from tests.support.tokenizer_files import write_byte_tokenizer

LABELS = ["O", "B-X", "I-X", "B-Y", "I-Y"]
TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map(" ".join)
HOW = st.sampled_from([None, "none", "simple", "first", "average", "max"])
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "aggregation": HOW,
        "score_threshold": st.floats(0, 1),
        "truncate": st.booleans(),
    },
)
BAD = st.sampled_from(
    [
        {"data": None},
        {"data": ["one", "two"]},
        {"data": {"text": "one"}},
        {"data": "\ud800"},
        {"data": "one", "parameters": {"aggregation": "all"}},
        {"data": "one", "parameters": {"score_threshold": 10**400}},
        {"data": "one", "parameters": {"aggregation": ["simple"]}},
        {"instances": ["one", 7]},
    ]
)


def v2(texts: list[str], options: dict[str, Any]) -> dict[str, Any]:
    entry = {"name": "x", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    return {"inputs": [entry], "parameters": options}


SEVERAL = st.lists(TEXTS, min_size=1, max_size=3)
GOOD = st.one_of(
    st.builds(lambda text, options: {"data": text, "parameters": options}, TEXTS, OPTIONS),
    st.builds(lambda texts, options: {"instances": texts, "parameters": options}, SEVERAL, OPTIONS),
    st.builds(v2, SEVERAL, OPTIONS),
    TEXTS,
    TEXTS.map(str.encode),
)


class Tagger(nn.Module):
    """Attention over what isn't masked: tokens and mask, (N, T), to logits, (N, T, labels).

    It computes in float64: the last bits of float32, which another batch or another CPU's kernels
    would change, decide nothing.
    """

    def __init__(self, tokens: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(tokens, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.classifier = nn.Linear(16, len(LABELS))
        nn.init.normal_(self.classifier.weight, std=2.0)
        self.double()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x = self.embedding(input_ids)
        states = x + self.attention(x, x, x, key_padding_mask=attention_mask == 0)[0]
        logits: torch.Tensor = self.classifier(states)
        return logits.float()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    write_byte_tokenizer(made / "tokenizer.json")
    (made / "labels.json").write_text(json.dumps(LABELS))
    return made


def configured(folder: Path, **section: Any) -> TokenClassification:
    handler: TokenClassification = tasks.find("token_classification")()
    said = {"task": "token_classification", "labels": "labels.json", **section}
    handler.configure(said, folder)
    handler.use(ModuleRuntime(Tagger(259).eval(), torch.device("cpu")), batch_size=8)
    return handler


@pytest.fixture(scope="module")
def handler(folder: Path) -> TokenClassification:
    return configured(folder, max_tokens=64, overlap=16, max_windows=4)


@given(st.lists(st.one_of(GOOD, GOOD, BAD), min_size=1, max_size=8))
def test_in_any_company_each_is_answered_as_alone(
    handler: TokenClassification, bodies: list[Any]
) -> None:
    for body, (status, answer) in zip(bodies, ask(handler, bodies), strict=True):
        assert status in (200, 400, 413, 422)
        ((alone, wanted),) = ask(handler, [body])
        assert (status, same(answer, wanted, 1e-4)) == (alone, True)


@given(TEXTS, OPTIONS)
def test_an_entity_is_where_it_says(
    handler: TokenClassification, text: str, options: dict[str, Any]
) -> None:
    body = {"data": text, "parameters": {**options, "truncate": True}}
    ((status, answer),) = ask(handler, [body])
    assert status == 200
    end = 0
    for each in answer["entities"]:
        assert each["text"] == text[each["start"] : each["end"]]
        assert each["text"] == each["text"].strip() != ""
        assert each["score"] >= options.get("score_threshold", 0)
        assert each["text"] not in ("\u0301", "\u200d", "👩", "🔬")  # halves of what people see
        if options.get("aggregation") != "none":
            assert each["label"] in ("X", "Y")
            assert each["start"] >= end
            end = each["end"]


def constant(handler: TokenClassification, text: str, labels: list[int], **options: Any) -> Any:
    """What is made of these labels, one for each byte of the text."""
    sample = handler.decode(text, Options(**options))
    logits = torch.zeros(*sample.tensors["input_ids"].shape, len(LABELS))
    logits[0, range(1, len(labels) + 1), labels] = 9.0
    (answer,) = handler.answer({"logits": logits}, [sample])
    return answer.to_json()


def test_halves_of_a_letter_are_one_find(handler: TokenClassification) -> None:
    answer = constant(handler, "aé b", [0, 1, 2, 0, 3])
    assert [(each["label"], each["text"]) for each in answer["entities"]] == [
        ("X", "é"),
        ("Y", "b"),
    ]
    split = constant(handler, "aé", [0, 1, 3])  # its bytes are of two kinds
    assert [each["text"] for each in split["entities"]] == ["é"]
    widened = constant(handler, "e\u0301!", [0, 1, 2, 0])  # the accent alone
    assert [each["text"] for each in widened["entities"]] == ["e\u0301"]


def test_labels_decide_what_is_usual(folder: Path, tmp_path: Path) -> None:
    plain = configured(folder)
    plain.names = ["noun", "verb", "O", "P", "Q"]
    assert [e["label"] for e in constant(plain, "ab", [0, 0])["entities"]] == ["noun", "noun"]
    assert len(constant(plain, "ab", [0, 0], aggregation="simple")["entities"]) == 1
    assert len(constant(configured(folder), "ab", [1, 2])["entities"]) == 1


def test_a_long_text_is_read_to_the_end(handler: TokenClassification) -> None:
    ((_, long), (_, longer), (status, refused)) = ask(
        handler,
        ["ab " * 40, "ab " * 90, {"data": "ab " * 90, "parameters": {"truncate": False}}],
    )
    assert (long["truncated"], longer["truncated"]) == (False, True)
    assert long["entities"][-1]["end"] > 64
    assert longer["entities"][-1]["end"] < 270
    assert (status, "4 are allowed" in refused["error"]) == (413, True)


def test_in_every_protocol(handler: TokenClassification) -> None:
    ((_, raw), (_, v1), (_, outputs)) = ask(
        handler, ["ab größe", {"instances": ["ab größe", ""]}, v2(["ab größe"], {})]
    )
    assert v1["predictions"] == [raw, {"entities": [], "truncated": False}]
    columns = {each["name"]: each for each in outputs["outputs"]}
    found = raw["entities"]
    assert columns["texts"]["data"] == [each["text"] for each in found]
    assert columns["starts"]["data"] == [each["start"] for each in found]
    assert (columns["scores"]["shape"], columns["counts"]["data"]) == ([len(found)], [len(found)])
    assert columns["truncated"]["data"] == [False]
    assert set(plain(Entities.schema())["properties"]["entities"]["items"]["properties"]) == set(
        found[0]
    )
    assert plain(json_schema(Options))["properties"]["aggregation"]["default"] is None


def test_the_example_and_what_it_takes(handler: TokenClassification) -> None:
    media_type, body = handler.example()
    assert media_type == "text/plain"
    ((status, _),) = ask(handler, [body])
    assert status == 200
    assert json.loads(json.dumps(handler.describe_input()))["max_windows"] == 4
    batch = handler.collate([handler.decode(body, Options())])
    assert handler.varying_axes() == dict.fromkeys(batch, (1,))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 8), r"\(N, T, classes\)"),
        ((1, 3, 5), r"of \[1, 8\]"),
        ((2, 8, 5), r"of \[1, 8\]"),
        ((1, 8, 3), "5 labels for 3 classes"),
    ],
)
def test_a_model_that_labels_no_tokens_is_told(
    handler: TokenClassification, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        handler.answer({"x": torch.zeros(shape)}, [handler.decode("ab", Options())])


def test_what_is_not_finite_is_the_models_fault(folder: Path) -> None:
    handler = configured(folder)
    usual, number = handler.runtime, handler.encoder.tokenizer.token_to_id("x")
    assert number is not None

    def spoiled(batch: Tensors) -> Tensors:
        wrong = batch["input_ids"].eq(number)[..., None]
        return {name: each.masked_fill(wrong, torch.nan) for name, each in usual(batch).items()}

    handler.use(spoiled, batch_size=8)
    ((fine, _), (status, answer)) = ask(handler, ["zz", "xz"])
    assert (fine, status) == (200, 500)
    assert "not finite" in answer["error"]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"labels": "names.json"}, "can't be read from names.json"),
        ({"overlap": 254}, "no room for more than an overlap of 254"),
        ({"max_windows": 0}, "must be at least 1"),
        ({"defaults": {"aggregation": "mean"}}, "'aggregation' in handler.defaults must be"),
        ({"stride": 3}, "'stride' is not allowed"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    folder: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError, match=words):
        configured(folder, **section)
