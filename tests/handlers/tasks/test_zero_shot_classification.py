"""A text and labels in, the scores of these labels out."""

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
from handlers.errors import BadRequest, ModelError
from handlers.protocols import json_text
from handlers.runtimes.eager import ModuleRuntime
from handlers.task import Sample
from handlers.tasks.zero_shot_classification import ZeroShotClassification
from handlers.tasks.zero_shot_classification import ZeroShotClassificationOptions as Options
from handlers.text.pairs import Pairs
from tests.support.answers import same
from tests.support.in_batches import answers_in_batches, ask
from tests.support.tokenizer_files import WORDS, write_tokenizer

LABELS = st.lists(st.sampled_from(WORDS[4:]), min_size=1, max_size=5, unique=True)
TEXTS = st.lists(st.sampled_from(["one", "größe", "five " * 30, "six"]), max_size=3).map(" ".join)
ASKED = st.fixed_dictionaries({"text": TEXTS, "candidate_labels": LABELS})
OPTIONS = st.builds(Options, multi_label=st.booleans(), top_k=st.integers(1, 6))


class Net(nn.Module):
    """Tokens and mask, (N, T), to (N, 3): what is at some place counts by its place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(len(WORDS), 3)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        places = torch.arange(1, input_ids.shape[1] + 1) ** -0.5 * attention_mask
        logits: torch.Tensor = (self.embedding(input_ids) * places[..., None]).sum(dim=1)
        return logits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    write_tokenizer(made / "tokenizer.json", special=False)
    return made


def configured(folder: Path, **section: Any) -> ZeroShotClassification:
    handler: ZeroShotClassification = tasks.find("zero_shot_classification")()
    given_ = {"task": "zero_shot_classification", "max_tokens": 24, "entailment": 2, **section}
    handler.configure(given_, folder)
    handler.use(ModuleRuntime(Net().eval(), torch.device("cpu")), batch_size=4)
    return handler


@pytest.fixture(scope="module")
def handler(folder: Path) -> ZeroShotClassification:
    return configured(folder)


@given(st.lists(st.tuples(ASKED, OPTIONS), min_size=1, max_size=4))
def test_in_any_company_each_is_answered_as_alone(
    handler: ZeroShotClassification, asked: list[tuple[dict[str, Any], Options]]
) -> None:
    samples = [handler.decode(*each) for each in asked]
    answers = answers_in_batches(handler, samples, 4)
    for (each, options), sample, answer in zip(asked, samples, answers, strict=True):
        (alone,) = answers_in_batches(handler, [sample])
        assert same(answer, alone, 1e-5)
        count = len(each["candidate_labels"])
        assert len(answer["scores"]) == min(options.top_k, count)
        if not options.multi_label and 1 < count <= options.top_k:
            assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("entailment", "options", "scores"),
    [
        (2, {}, {"b": 0.731, "a": 0.269}),
        (2, {"multi_label": True}, {"a": 0.731, "b": 0.5}),
        (0, {"multi_label": True}, {"b": 0.5, "a": 0.269}),
        (-1, {"top_k": 1}, {"b": 0.731}),
    ],
)
def test_scores_come_best_first(
    folder: Path, entailment: int, options: dict[str, Any], scores: dict[str, float]
) -> None:
    handler = configured(folder, entailment=entailment)
    logits = torch.tensor([[0.0, 9.0, 1.0], [2.0, -9.0, 2.0]])
    sample = Sample({}, Options(**options), Pairs(["a", "b"], 9, False))
    answer: Any = handler.answer({"x": logits}, [sample])[0].to_json()
    assert answer["scores"] == pytest.approx(scores, abs=1e-3)
    assert list(answer["scores"]) == list(scores)


def test_labels_come_in_several_forms_and_in_every_protocol(folder: Path) -> None:
    handler = configured(folder, candidate_labels=["one", "two"])
    labels = ["two", "one"]
    forms = [
        {"text": "six", "candidate_labels": labels},
        {"text": "six", "candidate_labels": "two, one"},
        {"text": "six", "candidate_labels": json.dumps(labels)},
        {"data": "six", "parameters": {"hypothesis_template": "This example is {}."}},
        {"instances": ["six", {"text": "six", "candidate_labels": "one, two, four"}]},
        {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES",
                     "data": [json.dumps({"text": "six", "candidate_labels": labels})]}]},
    ]  # fmt: skip
    found = ask(handler, [json_text.dump(each) for each in forms])
    assert [status for status, _ in found] == [200] * len(forms)
    first, *others, v1, v2 = (said for _, said in found)
    assert all(same(each, first, 1e-5) for each in others)
    assert [len(each["scores"]) for each in v1["predictions"]] == [2, 3]
    outputs = {each["name"]: each["data"] for each in v2["outputs"]}
    assert outputs["labels"] == list(first["scores"])
    assert outputs["counts"] == [2]


@pytest.mark.parametrize(
    ("instance", "options", "words"),
    [
        ("six", {}, "no candidate_labels"),
        ({"text": "six", "candidate_labels": ""}, {}, "no candidate_labels"),
        ({"text": "six", "candidate_labels": ["a", "a"]}, {}, "are the same"),
        ({"text": "six", "candidate_labels": list("abcd")}, {}, "at most 3"),
        ({"text": "six", "candidate_labels": 7}, {}, "must be a list of texts"),
        ({"text": "six", "candidate_labels": ["\ud800"]}, {}, "lone surrogate"),
        ({"candidate_labels": ["a"]}, {}, "no 'text'"),
        ("{", {}, "must be JSON"),
        ({"text": "six", "candidate_labels": "a"}, {"hypothesis_template": "a"}, r"one \{\}"),
        ({"text": "a", "candidate_labels": "a"}, {"hypothesis_template": "{} {0}"}, "other brace"),
        ({"text": "a", "candidate_labels": "a"}, {"hypothesis_template": "{:>9}"}, r"one \{\}"),
        ({"text": "a", "candidate_labels": "a"},
         {"hypothesis_template": "{}" + "x" * 500}, "at most 500"),
    ],
)  # fmt: skip
def test_what_can_not_be_asked_is_refused(
    folder: Path, instance: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRequest, match=words):
        configured(folder, max_labels=3).decode(instance, Options(**options))


def test_a_text_counts_once_for_each_label(folder: Path) -> None:
    handler = configured(folder, max_characters=40)
    handler.screen([{"text": "six", "candidate_labels": list("abcd")}])
    with pytest.raises(BadRequest, match="at most 40"):
        handler.screen([{"text": "six six six", "candidate_labels": list("abcd")}])


def test_a_model_without_that_class_is_told(folder: Path) -> None:
    handler = configured(folder, entailment=3)
    sample = Sample({}, Options(), Pairs(["a"], 3, False))
    with pytest.raises(ModelError, match="3 classes, and 'entailment' is 3"):
        handler.answer({"x": torch.zeros(1, 3)}, [sample])


def test_the_example_can_be_classified(handler: ZeroShotClassification) -> None:
    _, body = handler.example()
    ((status, answer),) = ask(handler, [body])
    assert (status, len(answer["scores"])) == (200, 2)
