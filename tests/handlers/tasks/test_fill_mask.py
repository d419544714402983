"""A text with masks in, tokens for them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch import nn

from handlers import tasks
from handlers.errors import BadRequest, LoadError, ModelError
from handlers.protocols import json_text
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.fill_mask import FillMask
from handlers.tasks.fill_mask import FillMaskOptions as Options
from tests.support.answers import same
from tests.support.in_batches import answers_in_batches, ask
from tests.support.tokenizer_files import WORDS, write_tokenizer

MASK = "[MASK]"
TEXTS = st.lists(st.sampled_from(["one", "größe", "five " * 20, MASK]), max_size=5).map(
    lambda words: " ".join([MASK, *words])
)
OPTIONS = st.builds(
    Options,
    top_k=st.integers(1, 20),
    targets=st.none() | st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(tuple),
)


class Net(nn.Module):
    """Tokens and mask, (N, T), to logits, (N, T, tokens): by the neighbours on the left."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(len(WORDS) + 1, len(WORDS) + 1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states = self.embedding(input_ids) * attention_mask[..., None]
        logits: torch.Tensor = states.cumsum(dim=1) * 0.1
        return logits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive") / "tokenizer.json"
    write_tokenizer(made)
    tokenizer = Tokenizer.from_file(str(made))
    tokenizer.add_special_tokens(["[CLS]", "[SEP]", "[PAD]", MASK])
    tokenizer.save(str(made))
    return made.parent


def configured(folder: Path, **section: Any) -> FillMask:
    handler: FillMask = tasks.find("fill_mask")()
    handler.configure({"task": "fill_mask", "max_tokens": 24, **section}, folder)
    handler.use(ModuleRuntime(Net().eval(), torch.device("cpu")), batch_size=4)
    return handler


@pytest.fixture(scope="module")
def handler(folder: Path) -> FillMask:
    return configured(folder)


@given(st.lists(st.tuples(TEXTS, OPTIONS), min_size=1, max_size=4))
def test_in_any_company_each_is_filled_in_as_alone(
    handler: FillMask, asked: list[tuple[str, Options]]
) -> None:
    samples = [handler.decode(*each) for each in asked]
    answers = answers_in_batches(handler, samples, 4)
    for (_, options), sample, answer in zip(asked, samples, answers, strict=True):
        (alone,) = answers_in_batches(handler, [sample])
        assert same(answer, alone, 1e-5)
        assert len(answer["masks"]) == len(sample.meta.places)
        among = set(options.targets or WORDS) | ({MASK} if options.targets is None else set())
        for row in answer["masks"]:
            assert len(row) == min(options.top_k, len(among))
            assert sum(each["score"] for each in row) <= 1 + 1e-5
            assert [each["score"] for each in row] == pytest.approx(
                sorted((each["score"] for each in row), reverse=True), abs=1e-4
            )


def test_one_mask_is_written_plain_and_several_with_what_is_around(handler: FillMask) -> None:
    ((_, one), (_, two)) = ask(handler, [f"one {MASK} two".encode(), f"{MASK} {MASK}".encode()])
    assert [len(row) for row in two["masks"]] == [5, 5]
    for each in one["masks"][0]:
        special = each["token_str"] in ("[CLS]", "[SEP]", "[PAD]", MASK)
        assert each["sequence"] == ("one two" if special else f"one {each['token_str']} two")
    for mask, row in enumerate(two["masks"]):
        for each in row:
            words = ["[CLS]", MASK, MASK, "[SEP]"]
            words[mask + 1] = each["token_str"]
            assert each["sequence"] == " ".join(word for word in words if word != "[PAD]")


def test_in_every_protocol(handler: FillMask) -> None:
    text, parameters = f"one {MASK}", {"top_k": 2, "targets": ["two", "three", "unheard of"]}
    forms = [
        {"data": text, "parameters": parameters},
        {"instances": [text, f"{MASK} {MASK}"], "parameters": parameters},
        {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": [text]}],
         "parameters": parameters},
    ]  # fmt: skip
    found = ask(handler, [json_text.dump(each) for each in forms])
    assert [status for status, _ in found] == [200] * 3
    raw, v1, v2 = (said for _, said in found)
    assert {each["token_str"] for each in raw["masks"][0]} <= {"two", "three", "[UNK]"}
    assert same(v1["predictions"][0], raw, 1e-5)
    assert [len(each["masks"]) for each in v1["predictions"]] == [1, 2]
    outputs = {each["name"]: each["data"] for each in v2["outputs"]}
    assert outputs["token_str"] == [each["token_str"] for each in raw["masks"][0]]
    assert json.loads(json.dumps(handler.describe_input()))["max_masks"] == 16


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("one", {}, r"no \[MASK\] in the text"),
        ("one " * 30 + MASK, {}, r"no \[MASK\] in the first 24 tokens"),
        (f"{MASK} " * 9, {}, "9 masks; at most 4"),
        (MASK, {"targets": ()}, "no targets"),
        (MASK, {"targets": (" ",)}, "has no tokens"),
        (MASK + " one" * 30, {"truncate": False}, "more than 24 tokens"),
        (7, {}, "must be a string"),
    ],
)
def test_what_can_not_be_filled_in_is_refused(
    folder: Path, text: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRequest, match=words):
        configured(folder, max_masks=4).decode(text, Options(**options))


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (torch.zeros(1, 3), r"\(N, T, tokens\), not \(1, 3\)"),
        (torch.zeros(1, 2, 11), r"not \(1, 2, 11\)"),
        (torch.full((1, 3, 11), torch.nan), "not finite"),
        (torch.zeros(1, 3, 2), "the tokenizer has a token 4, the model 2"),
    ],
)
def test_a_model_that_does_not_fit_is_told(
    handler: FillMask, logits: torch.Tensor, words: str
) -> None:
    options = Options(targets=("one",)) if logits.shape[-1] == 2 else Options()
    with pytest.raises(ModelError, match=words):
        handler.answer({"x": logits}, [handler.decode(MASK, options)])


def test_blanks_before_signs_are_cleaned_up_if_wanted(folder: Path) -> None:
    said = "one . [UNK] , two"
    assert configured(folder)._written([4, 5]) == "one two"
    cleaned = configured(folder, clean_up=True)
    cleaned.encoder.tokenizer = type("T", (), {"decode": lambda *a, **k: said})()
    assert cleaned._written([]) == "one. [UNK], two"


def test_a_mask_that_the_tokenizer_does_not_have_is_refused(folder: Path) -> None:
    with pytest.raises(LoadError, match="has no token '<mask>'"):
        configured(folder, mask_token="<mask>")  # noqa: S106
