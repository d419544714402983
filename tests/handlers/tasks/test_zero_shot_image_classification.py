"""An image and labels in, how well each fits out; labels are read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from handlers import tasks
from handlers.errors import BadRequest, LoadError, ModelError
from handlers.runtimes import Tensors
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.zero_shot_image_classification import (
    RecentVectors,
    ZeroShotImageClassification,
    ZeroShotOptions,
)
from tests.support.images import encode, noise
from tests.support.in_batches import answers_in_batches, ask
from tests.support.tokenizer_files import WORDS, write_tokenizer

SECTION = {
    "task": "zero_shot_image_classification", "resize": [4, 4], "max_tokens": 16, "scale": 3.0,
    "defaults": {"labels": ["one", "two"], "hypothesis_template": "{} six"},
}  # fmt: skip
NAMES = ["one", "two", "three", "four", "five", "one two", "two one three"]


class Towers(nn.Module):
    """Vectors of the image's means, and of the places of words; padding must not matter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places = nn.Embedding(len(WORDS), 3), nn.Embedding(64, 1)

    def forward(
        self, image: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        places = self.places(torch.arange(input_ids.shape[2])) * attention_mask.unsqueeze(3)
        return image.mean(dim=(2, 3)) - 0.5, (self.words(input_ids) * places).sum(dim=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    write_tokenizer(made / "tokenizer.json")
    return made


def configured(folder: Path, **section: Any) -> ZeroShotImageClassification:
    handler: ZeroShotImageClassification = tasks.find("zero_shot_image_classification")()
    handler.configure({**SECTION, **section}, folder)
    handler.use(ModuleRuntime(Towers().eval(), torch.device("cpu")), batch_size=8)
    return handler


def picture(seed: int) -> bytes:
    return encode(noise(5 + seed % 4, 6, "RGB", seed), "PNG")


def test_in_any_company_and_order_each_is_answered_as_by_a_handler_of_its_own(folder: Path) -> None:
    handler = configured(folder, kept_labels=4)
    chosen = st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True)
    jobs = st.lists(st.tuples(st.integers(0, 3), chosen), min_size=1, max_size=6)

    @settings(max_examples=20)
    @given(jobs)
    def check(asked: list[tuple[int, list[str]]]) -> None:
        options = [ZeroShotOptions(labels=tuple(names)) for _, names in asked]
        pictures = [picture(seed) for seed, _ in asked]
        samples = [handler.decode(*job) for job in zip(pictures, options, strict=True)]
        together = answers_in_batches(handler, samples)
        for body, each, answer in zip(pictures, options, together, strict=True):
            fresh = configured(folder)
            (alone,) = answers_in_batches(fresh, [fresh.decode(body, each)])
            assert answer == pytest.approx(alone, abs=1e-5)
            assert set(answer) == set(each.labels)
            assert sum(answer.values()) == pytest.approx(1, abs=1e-5)
        assert len(handler.kept) <= 4

    check()


def test_a_label_is_read_once(folder: Path) -> None:
    handler, seen = configured(folder), list[tuple[int, ...]]()
    runtime = handler.runtime

    def watched(batch: Tensors) -> Tensors:
        seen.append(tuple(batch["input_ids"].shape))
        return runtime(batch)

    handler.use(watched, batch_size=8)
    for names in (("one", "two"), ("two", "one"), ("two", "three"), ("one", "two", "three")):
        sample = handler.decode(picture(0), ZeroShotOptions(labels=names))
        answers_in_batches(handler, [sample])
    assert seen == [(1, 2, 16), (1, 1, 1), (1, 1, 16), (1, 1, 1)]
    other = handler.decode(picture(0), ZeroShotOptions(labels=("one",), hypothesis_template="{}"))
    assert other.tensors["input_ids"].shape == (1, 8)
    typical = handler.typical([other, other])
    assert (typical["image"].shape, typical["input_ids"].shape) == ((2, 3, 4, 4), (2, 1, 1))


def test_another_model_has_other_vectors(folder: Path) -> None:
    handler = configured(folder)
    options = ZeroShotOptions(labels=("one", "two"))
    (before,) = answers_in_batches(handler, [handler.decode(picture(0), options)])
    changed = Towers().eval()
    nn.init.normal_(changed.words.weight, std=2.0)
    handler.use(ModuleRuntime(changed, torch.device("cpu")), batch_size=8)
    (after,) = answers_in_batches(handler, [handler.decode(picture(0), options)])
    assert after != pytest.approx(before, abs=1e-4)


def test_sigmoid_scores_each_label_by_itself(folder: Path) -> None:
    handler = configured(folder, activation="sigmoid", bias=-1.0)
    alone, beside = (
        answers_in_batches(handler, [handler.decode(picture(0), ZeroShotOptions(labels=names))])[0]
        for names in (("one",), ("one", "two"))
    )
    assert beside["one"] == pytest.approx(alone["one"], abs=1e-6)


def test_the_default_labels_are_the_recipes(folder: Path) -> None:
    handler = configured(folder)
    ((status, answer),) = ask(handler, [picture(1)])
    assert status == 200
    assert set(answer) == {"one", "two"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": ()}, "there are no 'labels'"),
        ({"labels": ("one", "one")}, "two of the 'labels' are equal"),
        ({"labels": ("one",), "hypothesis_template": "a photo"}, "has no {}"),
        ({"labels": ("x" * 1001,)}, "has 1001 characters; at most 1000"),
        ({"labels": ("one",), "hypothesis_template": "{}" + "x" * 999}, "has 1001 characters"),
        ({"labels": ("one two three four five six one two one",)}, "more than 16 tokens"),
        ({"labels": ("\ud800",)}, "lone surrogate"),
    ],
    ids=range(7),
)
def test_labels_that_cannot_be_read_are_refused(
    folder: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRequest, match=words):
        configured(folder).decode(picture(0), ZeroShotOptions(**options))


def test_braces_in_a_template_are_but_text(folder: Path) -> None:
    options = ZeroShotOptions(labels=("one",), hypothesis_template="{0.__class__} {}")
    configured(folder).decode(picture(0), options)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"defaults": {}}, "there are no labels for requests that bring none"),
        ({"token_types": True}, "'token_types' are nothing that labels have"),
        ({"defaults": {"labels": ["x"] * 1001}}, "at most 1000"),
        ({"tokenizer": "none.json"}, "there is no tokenizer none.json"),
    ],
    ids=range(4),
)
def test_settings_that_cannot_work_are_refused(
    folder: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError, match=words):
        configured(folder, **section)


def test_a_model_that_answers_something_else_is_told(folder: Path) -> None:
    handler = configured(folder)
    sample = handler.decode(picture(0), ZeroShotOptions(labels=("one",)))
    with pytest.raises(ModelError, match=r"answers \(N, D\) and \(N, K, D\)"):
        handler.answer({"x": torch.zeros(1, 2)}, [sample])
    with pytest.raises(ModelError, match="not finite"):
        handler.answer({"x": torch.full((1, 2), torch.nan), "y": torch.zeros(1, 1, 2)}, [sample])


def test_what_was_asked_for_last_is_kept() -> None:
    kept = RecentVectors(2)
    for name in ("a", "b"):
        kept.put(name, torch.zeros(1))
    assert kept.get("a") is not None
    kept.put("c", torch.zeros(1))
    assert kept.get("b") is None
    assert kept.get("a") is not None
    assert len(kept) == 2
