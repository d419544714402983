"""Texts and pairs in, labels and scores out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from handlers import batching, tasks
from handlers.errors import BadRequest, HandlerError, LoadError, ModelError
from handlers.protocols import writing
from handlers.protocols.parsed_request import ParsedRequest
from handlers.runtimes.eager import ModuleRuntime
from handlers.schema import json_schema
from handlers.task import Sample
from handlers.tasks.text_classification import TextClassification, TextLabels
from handlers.tasks.text_classification import TextClassificationOptions as Options
from handlers.text.tokens import Tokens
from tests.support.answers import plain, same
from tests.support.tokenizer_files import WORDS, write_tokenizer

LABELS = ["praise", "question", "complaint"]
PIECES = st.sampled_from(
    ["one", "two ", "größe", "модель ", "模型", "👩‍🔬", "\r\n", "six " * 40, ""]
)
TEXTS = st.lists(PIECES, max_size=4).map(" ".join)
PAIRS = st.fixed_dictionaries({"text": TEXTS}, optional={"text_pair": TEXTS})
BAD = st.sampled_from([None, 7, "\ud800", [], {}, {"txt": "a"}, ["a", 1], b"\xff", [["a", "b"]]])
INSTANCES = TEXTS | TEXTS.map(str.encode) | st.lists(TEXTS, min_size=2, max_size=2) | PAIRS | BAD
OPTIONS = st.builds(Options, top_k=st.integers(1, 5), truncate=st.booleans())


class Net(nn.Module):
    """Attention over what isn't masked: tokens and mask, (N, T), to logits, (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(len(WORDS), 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.classifier = nn.Linear(16, len(LABELS))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x = self.embedding(input_ids)
        states = x + self.attention(x, x, x, key_padding_mask=attention_mask == 0)[0]
        logits: torch.Tensor = self.classifier(states[:, 0])
        return logits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    write_tokenizer(made / "tokenizer.json")
    (made / "labels.json").write_text(json.dumps(LABELS))
    return made


def configured(folder: Path, **section: Any) -> TextClassification:
    handler: TextClassification = tasks.find("text_classification")()
    section = {"task": "text_classification", "labels": "labels.json", **section}
    handler.configure(section, folder)
    handler.use(ModuleRuntime(Net().eval(), torch.device("cpu")), batch_size=8)
    return handler


@pytest.fixture(scope="module")
def handler(folder: Path) -> TextClassification:
    return configured(folder, max_tokens=48)


def ask(handler: TextClassification, asked: list[tuple[Any, Options]]) -> list[Any]:
    """An answer or an error for each instance, all that can be in batches of up to 8."""
    decoded: list[Any] = []
    for instance, options in asked:
        try:
            decoded.append(handler.decode(instance, options))
        except BadRequest as error:
            decoded.append(error)

    def predict(group: Any) -> Any:
        return handler.answer(handler.inference(handler.collate(group)), group)

    samples = [each for each in decoded if isinstance(each, Sample)]
    found = iter(batching.run(samples, predict, key=handler.group_key, limit=8))
    return [next(found) if isinstance(each, Sample) else each for each in decoded]


@given(st.lists(st.tuples(INSTANCES, OPTIONS), min_size=1, max_size=10))
def test_in_any_company_each_is_answered_as_alone(
    handler: TextClassification, asked: list[tuple[Any, Options]]
) -> None:
    for each, together in zip(asked, ask(handler, asked), strict=True):
        (alone,) = ask(handler, [each])
        assert type(together) is type(alone)
        if isinstance(together, HandlerError):
            assert 400 <= together.status < 500
            continue
        said, wanted = together.to_json(), alone.to_json()
        assert same(said, wanted, 1e-4)
        assert len(together.labels) == min(each[1].top_k, 3)


def answered(handler: TextClassification, logits: list[float], **options: Any) -> TextLabels:
    sample = Sample({"input_ids": torch.zeros(4)}, Options(**options), Tokens(False, [], []))
    (answer,) = handler.answer({"logits": torch.tensor([logits])}, [sample])
    assert isinstance(answer, TextLabels)
    return answer


@pytest.mark.parametrize(
    ("activation", "scores"),
    [
        ("softmax", {"question": 0.665, "complaint": 0.245, "praise": 0.090}),
        ("sigmoid", {"question": 0.881, "complaint": 0.731, "praise": 0.5}),
        ("none", {"question": 2.0, "complaint": 1.0, "praise": 0.0}),
    ],
)
def test_scores_come_best_first(folder: Path, activation: str, scores: dict[str, float]) -> None:
    handler = configured(folder, activation=activation)
    answer = plain(answered(handler, [0.0, 2.0, 1.0]).to_json())
    assert list(answer["scores"]) == list(scores)
    assert answer["scores"] == pytest.approx(scores, abs=1e-3)
    assert (answer["tokens"], answer["truncated"]) == (4, False)
    assert answered(handler, [0.0, 2.0, 1.0], top_k=1).labels == ["question"]


def test_a_pair_is_read_as_two(handler: TextClassification) -> None:
    (pair, alone) = ask(
        handler,
        [(["one", "two three"], Options()), ("one", Options())],
    )
    assert (pair.tokens, alone.tokens) == (3, 3)  # of a pair this tokenizer adds nothing
    assert handler.parts == ("text", "text_pair")


def test_in_every_protocol(handler: TextClassification) -> None:
    answers = ask(
        handler,
        [
            ("one", Options(top_k=2)),
            ("two " * 99, Options(top_k=2)),
        ],
    )

    def written(protocol: Any) -> Any:
        request = ParsedRequest(protocol, ["a", "b"])
        names = {"model_name": "m", "model_version": "1"}
        return json.loads(writing.write(request, answers, **names).body)

    assert list(written("raw")) == ["scores", "tokens", "truncated"]
    assert [each["truncated"] for each in written("v1")["predictions"]] == [False, True]
    labels, scores, tokens, truncated = written("v2")["outputs"]
    assert (labels["shape"], labels["datatype"], scores["datatype"]) == ([2, 2], "BYTES", "FP32")
    assert (tokens["data"], truncated["data"]) == ([3, 48], [False, True])
    assert set(plain(TextLabels.schema())["required"]) == set(written("raw"))
    assert set(plain(json_schema(Options))["properties"]) == {"top_k", "truncate"}


@pytest.mark.parametrize(
    ("logits", "activation", "words"),
    [
        (torch.zeros(1, 4, 3), "softmax", r"answers \(N, classes\), this one \(1, 4, 3\)"),
        (torch.zeros(1, 2), "softmax", "3 labels for 2 classes"),
        (torch.zeros(1, 1), "softmax", "softmax needs two labels or more"),
    ],
)
def test_a_model_that_does_not_fit_is_told(
    folder: Path, logits: torch.Tensor, activation: str, words: str
) -> None:
    handler = configured(folder, activation=activation)
    with pytest.raises(ModelError, match=words):
        handler.answer({"x": logits}, [handler.decode("one", Options())])


def test_too_much_text_is_refused_before_any_is_tokenised(folder: Path) -> None:
    handler = configured(folder, max_characters=10)
    handler.screen(["12345", {"text": "1", "text_pair": b"2345"}])
    with pytest.raises(BadRequest, match="at most 10"):
        handler.screen([["12345", "123456"]])


def test_the_example_and_what_it_takes(folder: Path) -> None:
    handler = configured(folder, max_tokens=32)
    media_type, body = handler.example()
    assert media_type == "text/plain"
    sample = handler.decode(body, Options())
    assert handler.varying_axes() == dict.fromkeys(handler.collate([sample]), (1,))
    assert json.loads(json.dumps(handler.describe_input()))["max_tokens"] == 32


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"labels": "names.json"}, "can't be read from names.json"),
        ({"activation": "tanh"}, "must be one of 'softmax', 'sigmoid', 'none'"),
        ({"defaults": {"top_k": 0}}, "must be at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    folder: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError, match=words):
        configured(folder, **section)
