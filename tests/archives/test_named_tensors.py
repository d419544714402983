"""A handler names its tensors, and `forward` its parameters: they meet by name, in any order."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from marsmith.cache import Cache
from marsmith.errors import BuildError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.recipe.sections import Recipe

FILES = {
    "change/__init__.py": "",
    "change/net.py": """
        import torch
        from torch import nn

        class Change(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(3, 3)

            def forward(self, minuend: torch.Tensor, subtrahend: torch.Tensor) -> torch.Tensor:
                return self.layer(minuend) - subtrahend

        class Misnamed(Change):
            def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
                return self.layer(a) - b
        """,
    "change/task.py": """
        import json
        from dataclasses import dataclass

        import torch

        from handlers.base import Handler
        from handlers.task import Answer, Sample

        NAMES = ("subtrahend", "minuend")  # not as forward has them

        @dataclass(frozen=True)
        class Change(Answer):
            change: list[float]

        class Task(Handler):
            Answer = Change

            def decode(self, instance, options):
                names = [name for name in (*NAMES, "extra") if name in instance]
                return Sample({name: torch.tensor(instance[name]) for name in names}, options, None)

            def answer(self, outputs, samples):
                return [Change(row.tolist()) for row in outputs["output"]]

            def example(self):
                data = {name: [1.5, 2.5, index] for index, name in enumerate(NAMES, start=7)}
                return "application/json", json.dumps({"data": data}).encode()

            def describe_input(self):
                return dict.fromkeys(NAMES, "three numbers")

        def odd():
            given = dict.fromkeys((*NAMES, "extra"), [1.0, 2.0, 3.0])
            return [json.dumps({"data": given}).encode()]

        def calibration():
            rows = [([i / 2, 7.5 - i / 2, i / 2], [8 - i / 2, i / 2, 8 - i / 2]) for i in range(16)]
            return [json.dumps({"data": dict(zip(NAMES, row))}).encode() for row in rows]
        """,
    "change.yaml": """
        name: change
        task: change.task:Task
        source: {factory: "change.net:Change"}
        handler: {threads: 1}
        calibration: {data: "change.task:calibration"}
        conversion: {trace: true}
        accept: {min_cosine: 0.9}
        serving: {batch_size: 2}
        """,
}


def slow(*values: str) -> list[Any]:
    """Parameters of tests that take long: each builds an archive, and loads it twice."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a recipe, a module and a task whose orders differ."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


def from_(project: Path, **changes: Any) -> Recipe:
    """The recipe, changed."""
    said = yaml.safe_load((project / "change.yaml").read_text()) | changes
    (project / "changed.yaml").write_text(yaml.safe_dump(said))
    return reading.load(project / "changed.yaml")


def by_name(recipe: Recipe, inputs: dict[str, list[float]]) -> torch.Tensor:
    """What the recipe's own module says when it is called by name."""
    module = recipe.source.load(Cache(Path()), lambda line: None)
    with torch.inference_mode():
        answer: torch.Tensor = module(**{name: torch.tensor([x]) for name, x in inputs.items()})
    return answer[0]


INPUTS = {"minuend": [6.0, 4.0, 7.0], "subtrahend": [1.0, 2.0, 3.0]}


def answers_of(archive: Path) -> list[torch.Tensor]:
    """An archive's answers to the two inputs, in this order and in the other."""
    turned = dict(reversed(INPUTS.items()))
    with Harness(archive, env={"PYTHONPATH": ""}) as harness:
        responses = harness.predict([Request.json({"data": each}) for each in (INPUTS, turned)])
    return [torch.tensor(response.json()["change"]) for response in responses]


@pytest.mark.parametrize(
    "candidate",
    [
        *("eager:fp32", "torchscript:fp32", "onnx:fp32"),
        *slow("torchscript:int8", "pt2:fp32", "onnx:int8", "openvino:int8", "tflite:fp32"),
    ],
)
def test_an_archive_answers_what_the_module_does_by_name(
    project: Path, tmp_path: Path, candidate: str
) -> None:
    recipe = from_(project, runtime="auto", candidates=[candidate])
    expected = by_name(recipe, INPUTS)
    report = build(recipe, tmp_path / "store")
    assert report is not None
    assert report.ladder[1].difference.max_abs_error < 1
    for answer in answers_of(tmp_path / "store" / "change.mar"):
        loose = candidate.endswith("int8")
        torch.testing.assert_close(answer, expected, atol=0.5 if loose else 1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch copies a program so
@pytest.mark.parametrize("form", ["torchscript", *slow("pt2", "onnx")])
def test_a_file_is_given_its_tensors_by_their_names(
    project: Path, tmp_path: Path, form: str
) -> None:
    recipe, path = from_(project), project / f"model.{form}"
    module = recipe.source.load(Cache(Path()), lambda line: None)
    rows = torch.rand(2, 3), torch.rand(2, 3)
    axes = ({0: torch.export.Dim("batch")},) * 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own parts, to each other
        if form == "torchscript":
            torch.jit.save(torch.jit.freeze(torch.jit.script(module)), str(path))
        elif form == "pt2":
            torch.export.save(torch.export.export(module, rows, dynamic_shapes=axes), path)
        else:
            torch.onnx.export(
                module, rows, str(path), verbose=False, dynamic_shapes=axes,
                input_names=["minuend", "subtrahend"], output_names=["output"],
            )  # fmt: skip
    runtime = "torchscript" if form == "torchscript" else "onnx"
    build(from_(project, source={form: path.name}, runtime=runtime), tmp_path / "store")
    for answer in answers_of(tmp_path / "store" / "change.mar"):
        torch.testing.assert_close(answer, by_name(recipe, INPUTS), atol=1e-4, rtol=0)


def test_names_that_do_not_meet_are_refused_before_anything_is_measured(
    project: Path, tmp_path: Path
) -> None:
    recipe = from_(project, source={"factory": "change.net:Misnamed"})
    with pytest.raises(BuildError, match="gives subtrahend, minuend") as caught:
        build(recipe, tmp_path / "store")
    assert "Misnamed.forward takes a, b" in caught.value.message
    assert "parameters of forward" in caught.value.hint
    assert not list((tmp_path / "store").glob("*.mar"))


@pytest.mark.parametrize("section", ["evaluation", "calibration"])
def test_data_that_gives_other_tensors_is_said(project: Path, tmp_path: Path, section: str) -> None:
    words = "the model takes minuend, subtrahend; subtrahend, minuend, extra were given"
    changes = {section: {"data": "change.task:odd"}}
    if section == "evaluation":
        words = "the task gives subtrahend, minuend, extra, and"
    with pytest.raises(BuildError, match=words):
        build(from_(project, **changes), tmp_path / "store")
