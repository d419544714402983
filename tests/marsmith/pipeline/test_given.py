"""What `build` takes beside a recipe: a module, its data and functions, as they are in memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import marsmith
from handlers.tasks.image_classification import ImageClassification
from marsmith.cache import module_key
from marsmith.client import bodies
from marsmith.errors import MarsmithError, RecipeError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.given import recipe_of
from marsmith.recipe.live_data import LiveData

NAMED: dict[str, Any] = {"name": "live", "task": "image_classification"}
NAMES = ["left above", "right above", "left below", "right below"]
HANDLER = {"greyscale": True, "resize": [4, 4], "mean": [0.0], "std": [1.0]}


class Sums(nn.Module):
    """Each quarter's sum, scaled; nothing of the scale is in its weights or its text."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.pool = nn.AvgPool2d(2)
        self.shift: torch.Tensor
        self.register_buffer("shift", torch.zeros(4), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        sums: torch.Tensor = self.pool(image).flatten(1) * self.scale + self.shift
        return sums


def agreement(answers: list[dict[str, float]], expected: list[str]) -> float:
    return sum(next(iter(a)) == e for a, e in zip(answers, expected, strict=True)) / len(expected)


def quarters() -> list[tuple[Any, str]]:
    """Pixels with one quarter that is bright, and which."""
    found = []
    for label in range(4):
        pixels = np.zeros((4, 4), np.uint8)
        row, column = divmod(label, 2)
        pixels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 200
        found.append((pixels, NAMES[label]))
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a build of a module that is trained, and then changed."""
    store = tmp_path_factory.mktemp("store")
    module = Sums(10.0).train()
    report = marsmith.build(
        module, store, **NAMED, data=quarters(), handler=HANDLER,
        evaluation={"metric": agreement}, labels=NAMES,
    )  # fmt: skip
    assert report
    assert module.training
    assert (report.metric, report.shipped.metric) == (f"{__name__}:agreement", 1.0)
    return store


@pytest.mark.slow
def test_a_module_in_memory_becomes_an_archive_that_answers_as_it_does(built: Path) -> None:
    with Harness(built / "live.mar", batch_size=1) as harness:
        for pixels, label in quarters():
            (answer,) = harness.predict([Request.raw(bodies.of_data(pixels))])
            given = torch.from_numpy(pixels)[None, None] / 255
            wanted = Sums(10.0)(given).softmax(1)[0]
            assert next(iter(answer.json())) == label
            score = float(wanted[NAMES.index(label)])
            assert answer.json()[label] == pytest.approx(score, abs=1e-5)


def test_the_report_says_what_it_was_and_how_to_build_a_candidate(built: Path) -> None:
    report = marsmith.Report.read(built / "live.report.json")
    source = dict(report.provenance.source)
    assert (source["kind"], source["module"]) == ("module", "Sums")
    assert report.provenance.data["evaluation"].startswith("4 items in memory, ")
    assert report.shipped.command == (
        "marsmith.build(module, name='live', task='image_classification', ...,"
        " runtime='torchscript', precision='fp32')"
    )


@pytest.mark.slow
def test_what_no_text_of_a_module_shows_makes_another_archive(built: Path) -> None:
    """The store's cache has a conversion of a module of equal weights and equal text."""
    answers = []
    for change in ("scale", "shift"):
        module = Sums(10.0)
        if change == "scale":
            module.scale = 0.0
        else:
            module.shift += torch.tensor([0.0, 0.0, 0.0, 99.0])
        settings = {**NAMED, "name": change, "handler": HANDLER, "labels": NAMES}
        marsmith.build(module, built, **settings, data=quarters())
        with Harness(built / f"{change}.mar", batch_size=1) as harness:
            (answer,) = harness.predict([Request.raw(bodies.of_data(quarters()[0][0]))])
        answers.append(answer.json())
    assert all(score == pytest.approx(0.25) for score in answers[0].values())
    assert next(iter(answers[1])) == NAMES[3]


def test_functions_and_data_are_given_themselves() -> None:
    recipe = recipe_of(
        Sums(), {
            **NAMED, "data": quarters, "evaluation": {"metric": agreement},
            "calibration": {"data": iter([b"a", b"b"])}, "assets": agreement,
            "candidates": ["onnx", "torchscript"], "runtime": "auto",
        },
    )  # fmt: skip
    assert recipe.evaluation is not None
    assert recipe.calibration is not None
    assert recipe.evaluation.data == f"{__name__}:quarters"
    assert recipe.evaluation.metric == recipe.assets == f"{__name__}:agreement"
    assert isinstance(recipe.calibration.data, LiveData)
    assert recipe.calibration.data.items == (b"a", b"b")
    assert recipe_of(Sums(), {**NAMED, "task": ImageClassification}).task.endswith(
        ":ImageClassification"
    )


def test_what_was_given_is_not_what_is_changed_later() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2))
    recipe = recipe_of(module, NAMED)
    before = recipe.source.load(None, print)  # type: ignore[arg-type]  # it needs no cache
    with torch.no_grad():
        module[1].weight.zero_()  # type: ignore[operator]
        before[1].weight.fill_(5)  # type: ignore[index]
    after = recipe.source.load(None, print)  # type: ignore[arg-type]
    assert not after.training
    assert module.training
    assert not set(after[1].weight.flatten().tolist()) & {0.0, 5.0}  # type: ignore[index]


def test_what_stands_around_a_module_is_left_out() -> None:
    around = nn.DataParallel(nn.Linear(2, 2))
    assert recipe_of(around, NAMED).source.module == "Linear"  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_compiled_module_is_taken_as_it_was_written() -> None:
    around = torch.compile(nn.Linear(2, 2))
    assert recipe_of(around, NAMED).source.module == "Linear"  # type: ignore[attr-defined]


class Stuck(nn.Module):
    def __deepcopy__(self, memo: object) -> Stuck:
        raise TypeError("cannot copy a lock")


def unnamed(answers: object, expected: object) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("given", "settings", "words", "hint"),
    [
        (Sums(), {}, "a module needs a name and a task", "marsmith.build"),
        (Sums(), {"name": "m"}, "a module needs a task", "marsmith.build"),
        (Sums(), {**NAMED, "source": {"onnx": "x"}}, "'source' is not allowed", ""),
        (Sums(), {**NAMED, "dat": []}, "did you mean 'data'", ""),
        (Sums(), {**NAMED, "data": []}, "data must have an item", ""),
        (Sums(), {**NAMED, "data": 7}, "data must be a list", ""),
        (Sums(), {**NAMED, "data": {"a": 1}}, "data must be a list", ""),
        (Sums(), {**NAMED, "data": b"abc"}, "data must be a list", ""),
        (Sums(), {**NAMED, "data": [object()]}, "can't be sent; it may be", ""),
        (Sums(), {**NAMED, "data": [b"a"], "evaluation": {"data": "a:b"}}, "said twice", "once"),
        (Sums(), {**NAMED, "assets": lambda m, f: None}, "can't be found again", "def"),
        (
            Sums(),
            {**NAMED, "labels": "labels.json"},
            "labels must be a list",
            "files=['labels.json']",
        ),
        (Sums(), {**NAMED, "labels": ["a", "a"]}, "a list of unique names", ""),
        (Sums(), {**NAMED, "labels": ["a", 1]}, "a list of unique names", ""),
        (
            Sums(),
            {**NAMED, "labels": ["a"], "handler": {"labels": "l.json"}},
            "said twice",
            "the file",
        ),
        (Sums(), {**NAMED, "labels": ["a"], "files": ["x/labels.json"]}, "said twice", "the file"),
        (Sums(), {**NAMED, "calibration": {"data": "nothing"}, "name": "token"}, "token", ""),
        (Stuck(), NAMED, "Stuck can't be copied: cannot copy a lock", "factory"),
        (nn.LazyLinear(3), NAMED, "parameters without values", "run it once"),
        (nn.Linear(2, 2, device="meta"), NAMED, "parameters without values", "load its weights"),
        (Sums, NAMED, "Sums is neither a recipe", "make one"),
        (Sums, {}, "Sums is neither a recipe", r"Sums(...)"),
        (3, {}, "int is neither a recipe", "marsmith.build"),
        (nn.Linear(2, 2).state_dict(), {}, "a state_dict has no code", "marsmith.build"),
        ("a.yaml", {"runtime": "onnx"}, "runtime: settings stand in a recipe", "beside a module"),
    ],
    ids=range(25),
)
def test_what_cannot_be_built_is_refused_with_what_can(
    given: Any, settings: dict[str, Any], words: str, hint: str
) -> None:
    with pytest.raises(MarsmithError, match=words) as caught:
        recipe_of(given, settings)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("task", "count", "words"),
    [("image_classification", 3, "3 labels for 4 classes"), ("text_embedding", 4, "labels")],
)
def test_labels_that_do_not_fit_are_refused_as_in_a_recipe(
    task: str, count: int, words: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"name": "live", "task": task, "labels": NAMES[:count]}
    if task == "image_classification":
        settings["handler"] = HANDLER
    with pytest.raises(MarsmithError, match=words):
        marsmith.build(Sums(), tmp_path, **settings)


def test_a_form_that_needs_code_is_refused_with_the_way_to_it(tmp_path: Path) -> None:
    with pytest.raises(MarsmithError, match="eager needs a source with a factory") as caught:
        marsmith.build(Sums(), tmp_path, **NAMED, handler=HANDLER, runtime="eager")
    assert "source: {factory: my_file:my_function" in caught.value.hint
    assert [each.name for each in tmp_path.iterdir()] == [".cache"]


def test_a_yaml_cannot_say_that_its_data_is_in_memory(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "name: r\ntask: tabular\nsource: {factory: a:b}\n"
        "evaluation: {data: {count: 1, sha256: x}}\n"
    )
    with pytest.raises(RecipeError, match=r"evaluation\.data"):
        marsmith.load(tmp_path / "r.yaml")


def test_a_key_is_of_what_no_text_and_no_weights_show() -> None:
    shifted = Sums()
    shifted.shift += 1
    hooked = Sums()
    hooked.register_forward_hook(print)
    keys = [module_key(each) for each in (Sums(), Sums(), Sums(2.0), shifted, hooked)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4
    scripted = [recipe_of(torch.jit.script(Sums(scale)), NAMED).source for scale in (1.0, 2.0)]
    assert scripted[0].weights == scripted[1].weights  # type: ignore[attr-defined]
    assert repr(scripted[0]) != repr(scripted[1])


def test_only_what_is_in_a_file_is_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(Sums):
        """Of this file, wherever it is defined."""

    assert module_key(Local()) == module_key(Local())
    monkeypatch.setattr(Local, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "get_ipython", None, raising=False)
    assert module_key(Local()) != module_key(Local())
