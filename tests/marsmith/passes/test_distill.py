from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from marsmith.errors import BuildError
from marsmith.passes.distill import Distill
from marsmith.sources.factory import Factory
from tests.support.passes import MakeWork, Measure

STUDENT = "examples.digits:student"
NARROW = Distill(student="examples.digits:model", arguments={"width": 2}, epochs=1)


def parameters(size: object) -> object:
    assert isinstance(size, dict)
    return size["parameters"]


@pytest.mark.slow
def test_a_student_of_an_eighth_answers_nearly_as_well(
    digits: nn.Module, work: MakeWork, accuracy: Measure
) -> None:
    before = accuracy(digits)
    change = Distill(student=STUDENT, epochs=100, learning_rate=0.02)
    student, report = change.apply(digits, work(epochs=1))
    assert (parameters(report["before"]), parameters(report["after"])) == (10026, 1246)
    assert accuracy(student) >= before - 0.01
    torch.jit.script(student)


def test_a_student_learns_from_its_teacher(
    digits: nn.Module, work: MakeWork, accuracy: Measure
) -> None:
    teacher = {name: value.clone() for name, value in digits.state_dict().items()}
    change = Distill(student=STUDENT, epochs=2, learning_rate=0.02, hard_weight=0)
    student, report = change.apply(digits, work(epochs=1))
    assert (parameters(report["before"]), parameters(report["after"])) == (10026, 1246)
    assert accuracy(student) >= 0.5
    assert not student.training
    assert all(torch.equal(value, teacher[name]) for name, value in digits.state_dict().items())


def test_the_source_of_what_goes_on_is_the_student() -> None:
    before = Factory(factory="examples.digits:model", train="examples.digits:train")
    assert NARROW.source(before) == Factory(factory="examples.digits:model", arguments={"width": 2})


def test_a_student_follows_from_the_seed(digits: nn.Module, work: MakeWork, tmp_path: Path) -> None:
    one, _ = NARROW.apply(digits, work(epochs=1))
    shutil.rmtree(tmp_path / "cache")
    torch.rand(3)
    other, _ = NARROW.apply(digits, work(epochs=1))
    weight = one.get_parameter("classifier.weight")
    assert torch.equal(weight, other.get_parameter("classifier.weight"))


def identity() -> nn.Module:
    return nn.Identity()


def both() -> nn.Module:
    class Both(nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return image, image

    return Both()


class Straight(nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return left - right


class Turned(nn.Module):
    def forward(self, right: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
        return left - right


def test_a_student_that_takes_its_teachers_inputs_in_another_order_is_refused(
    work: MakeWork,
) -> None:
    batch = {"left": torch.rand(2, 3), "right": torch.rand(2, 3)}
    words = "the student takes right, left, and the teacher left, right"
    with pytest.raises(BuildError, match=words) as caught:
        Distill(student=f"{__name__}:Turned").apply(Straight(), work(batch, epochs=1))
    assert "in the teacher's order" in caught.value.hint


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ("identity", r"scores are \(2, 10\), and the student's \(2, 1, 8, 8\)"),
        ("both", "one tensor, .* returned .*output_1"),
        ("Path", "not an nn.Module"),
    ],
)
def test_a_student_of_another_kind_is_said(
    digits: nn.Module, work: MakeWork, student: str, message: str
) -> None:
    with pytest.raises(BuildError, match=message):
        Distill(student=f"{__name__}:{student}").apply(digits, work(epochs=1))
