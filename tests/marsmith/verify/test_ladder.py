from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from handlers import base
from handlers.runtimes import Tensors
from handlers.task import Answer, Config, Sample
from marsmith.errors import BuildError, GateError
from marsmith.recipe.sections import Accept, Evaluation
from marsmith.report.measurements import Difference, Rung
from marsmith.verify.difference import compare
from marsmith.verify.ladder import PASSES, Ladder, gate


def rung(
    name: str = "onnx:int8",
    metric: float | None = 0.99,
    max_abs_error: float = 1e-6,
    min_cosine: float = 1.0,
) -> Rung:
    difference = Difference(max_abs_error, 0.0, min_cosine)
    return Rung(name, metric, difference, {"output": difference}, (1,), 1)


@pytest.mark.parametrize(
    ("changes", "accept", "number"),
    [
        ({"metric": 0.97}, {"metric_at_least": 0.98}, "0.9700 < metric_at_least 0.98"),
        ({"metric": 0.97}, {"metric_max_drop": 0.01}, "drop 0.0200 > metric_max_drop 0.01"),
        ({"max_abs_error": 0.1}, {"max_abs_error": 0.01}, "0.1 > max_abs_error 0.01"),
        ({"max_abs_error": math.inf}, {"max_abs_error": 1.0}, "inf > max_abs_error"),
        ({"min_cosine": 0.9}, {}, "0.9000 < min_cosine 0.99"),
        ({"min_cosine": math.nan}, {}, "nan < min_cosine"),
    ],
)
def test_a_missed_bound_is_named(
    changes: dict[str, Any], accept: dict[str, float], number: str
) -> None:
    with pytest.raises(GateError, match="refused") as caught:
        gate(rung(**changes), rung(), Accept.model_validate(accept))
    assert number in caught.value.message


def test_all_missed_bounds_are_named() -> None:
    with pytest.raises(GateError, match=r"metric .*; .*error"):
        gate(rung(metric=0.5, max_abs_error=1.0), rung(), Accept(max_abs_error=0.1))


def test_a_rung_within_its_bounds_passes() -> None:
    gate(rung(metric=0.985), rung(), Accept(metric_at_least=0.98, max_abs_error=1e-5))


def test_a_nan_is_as_wrong_as_can_be() -> None:
    found = compare({"a": torch.tensor([[math.nan]])}, {"a": torch.tensor([[1.0]])})["a"]
    assert (found.max_abs_error, found.min_cosine) == (math.inf, -1.0)
    with pytest.raises(GateError):
        gate(rung(min_cosine=found.min_cosine), rung(), Accept())


def test_passes_are_judged_by_the_metric_where_there_is_one() -> None:
    gate(rung(name=PASSES, min_cosine=0.5), rung(), Accept())
    with pytest.raises(GateError, match="metric drop"):
        gate(rung(name=PASSES, metric=0.5), rung(), Accept())
    with pytest.raises(GateError, match="cosine"):
        gate(rung(name=PASSES, metric=None, min_cosine=0.5), rung(metric=None), Accept())


def test_a_metric_that_is_no_number_passes_no_gate() -> None:
    with pytest.raises(GateError, match="nan < metric_at_least"):
        gate(rung(metric=math.nan), rung(), Accept(metric_at_least=0.9))


@dataclass(frozen=True)
class Number(Answer):
    value: int


@dataclass(frozen=True, kw_only=True)
class Nothing:
    pass


class ByShape(base.Handler[Config, Nothing, None]):
    """A task whose samples have two shapes, answered by their number."""

    Options = Nothing
    Answer = Number
    config, default_options = Config(), Nothing()

    def decode(self, body: object, options: Nothing) -> Sample[Nothing, None]:
        assert isinstance(body, bytes)
        return Sample({"x": torch.full((len(body),), float(body[0]))}, options, None)

    def answer(self, outputs: Tensors, samples: Sequence[Sample[Nothing, None]]) -> list[Number]:
        return [Number(int(value)) for value in outputs["x"][:, 0]]

    def example(self) -> tuple[str, bytes]:
        return "", b"1"

    def describe_input(self) -> dict[str, Any]:
        return {}


def mixed() -> list[tuple[bytes, int]]:
    return [(bytes([n] * (1 + n % 2)), n) for n in range(1, 8)]


def share(answers: Sequence[dict[str, int]], expected: Sequence[int]) -> float:
    return sum(a["value"] == e for a, e in zip(answers, expected, strict=True)) / len(expected)


def values(answers: Sequence[object]) -> list[object]:
    return [answer["value"] for answer in answers if isinstance(answer, dict)]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_samples_of_several_shapes_keep_their_order(batch_size: int) -> None:
    evaluation = Evaluation(data=f"{__name__}:mixed", metric=f"{__name__}:share")
    ladder = Ladder(ByShape(), evaluation, batch_size)
    measured, answers = ladder.measure("original", lambda x: x, refer=True)
    assert ladder.measure("onnx:fp32", lambda x: x) == (
        replace(measured, name="onnx:fp32"),
        answers,
    )
    assert measured.metric == 1.0
    for each in answers.values():
        assert values(each) == list(range(1, 8))
    assert measured.spread == 0


def test_answers_that_depend_on_their_neighbours_are_noticed() -> None:
    evaluation = Evaluation(data=f"{__name__}:mixed", metric=f"{__name__}:share")
    ladder = Ladder(ByShape(), evaluation, 3)
    measured, answers = ladder.measure("x", lambda x: {"x": x["x"] * len(x["x"])}, refer=True)
    # As a worker does it: of three requests the first and the last have one shape.
    assert values(answers[3]) == [2, 2, 6, 8, 5, 12, 7]
    assert measured.spread == 6  # 6 alone, 12 with another


def test_a_model_that_fails_on_the_data_is_a_build_error() -> None:
    def fails(_: Tensors) -> Tensors:
        raise RuntimeError("expected 3 channels")

    evaluation = Evaluation(data=f"{__name__}:mixed", metric=f"{__name__}:share")
    ladder = Ladder(ByShape(), evaluation, 1)
    with pytest.raises(BuildError, match="original model fails on the data: expected 3 channels"):
        ladder.measure("original", fails, refer=True)


def test_axes_that_differ_in_the_data_vary() -> None:
    evaluation = Evaluation(data=f"{__name__}:mixed", metric=f"{__name__}:share")
    ladder = Ladder(ByShape(), evaluation, 4)
    assert ladder.batches.varying() == {"x": (1,)}
    assert ladder.batches.one(4)["x"].shape == (4, 2)
    assert [batch["x"].shape for batch in ladder.batches.some(2, 3)] == [(2, 2), (2, 2), (2, 1)]


def bodies() -> list[bytes]:
    return [body for body, _ in mixed()]


def test_bodies_alone_are_compared_without_a_metric() -> None:
    ladder = Ladder(ByShape(), Evaluation(data=f"{__name__}:bodies"), 2)
    assert ladder.measure("original", lambda x: x, refer=True)[0].metric is None
    scored = Evaluation(data=f"{__name__}:bodies", metric=f"{__name__}:share")
    with pytest.raises(BuildError, match="needs expected answers"):
        Ladder(ByShape(), scored, 2)
