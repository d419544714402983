"""Batches: everyone gets their own answer, and a poison only its own error."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handlers.batching import in_steps, run
from handlers.errors import BadRequest, ModelError
from handlers.task import Sample, same_shape, stack


def sample(value: int, size: int = 1) -> Sample[None, int]:
    return Sample({"x": torch.full((size,), value)}, None, value)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=40),
    st.integers(1, 9),
)
def test_each_good_sample_is_answered_and_each_poison_blamed(
    plan: list[tuple[int, bool]], limit: int
) -> None:
    samples = [sample(index, size) for index, (size, _) in enumerate(plan)]
    poisons = {index for index, (_, poison) in enumerate(plan) if poison}

    def predict(batch: Sequence[Sample[None, int]]) -> list[str]:
        assert 1 <= len(batch) <= limit
        assert len({same_shape(each) for each in batch}) == 1
        stack([each.tensors for each in batch])
        for each in batch:
            if each.meta in poisons:
                raise BadRequest(f"poison {each.meta}")
        return [f"answer {each.meta}" for each in batch]

    results = run(samples, predict, key=same_shape, limit=limit)
    assert [str(result) for result in results] == [
        f"poison {index}" if index in poisons else f"answer {index}" for index in range(len(plan))
    ]


@given(st.integers(1, 64), st.data())
def test_one_poison_costs_few_runs(count: int, data: st.DataObject) -> None:
    poison, runs = data.draw(st.integers(0, count - 1)), []

    def predict(batch: Sequence[Sample[None, int]]) -> list[int]:
        runs.append(len(batch))
        if any(each.meta == poison for each in batch):
            raise BadRequest("poison")
        return [each.meta for each in batch]

    run([sample(index) for index in range(count)], predict, key=same_shape, limit=64)
    assert len(runs) <= 2 * count.bit_length() + 1


def test_full_batches_come_first_and_in_order() -> None:
    batches: list[list[int]] = []

    def predict(batch: Sequence[Sample[None, int]]) -> list[int]:
        batches.append([each.meta for each in batch])
        return batches[-1]

    samples = [sample(index, 1 + index % 2) for index in range(7)]
    assert run(samples, predict, key=same_shape, limit=3) == list(range(7))
    assert batches == [[0, 2, 4], [6], [1, 3, 5]]


def test_nothing_is_asked_for_nothing() -> None:
    def never(batch: Sequence[Sample[None, int]]) -> list[int]:
        raise AssertionError

    assert run([], never, key=same_shape, limit=4) == []


def test_a_bug_is_a_bare_500_and_its_words_stay_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def predict(batch: Sequence[Sample[None, int]]) -> list[int]:
        raise KeyError("s3cret")

    with caplog.at_level(logging.ERROR):
        (error,) = run([sample(1)], predict, key=same_shape, limit=1)
    assert isinstance(error, ModelError)
    assert error.status == 500
    assert "s3cret" not in error.message + error.hint
    assert "s3cret" in caplog.text


@pytest.mark.parametrize("kind", [MemoryError, torch.OutOfMemoryError])
def test_a_batch_too_large_for_memory_is_halved_until_it_fits(kind: type[Exception]) -> None:
    def predict(batch: Sequence[Sample[None, int]]) -> list[int]:
        if len(batch) > 2 or batch[-1].meta == 7:
            raise kind("no room")
        return [each.meta for each in batch]

    results = run([sample(index) for index in range(8)], predict, key=same_shape, limit=8)
    assert results[:7] == list(range(7))
    assert isinstance(results[7], ModelError)
    assert results[7].status == 507


@pytest.mark.parametrize("answers", [[], [1, 2, 3]])
def test_a_model_that_miscounts_is_blamed(answers: list[int]) -> None:
    results = run([sample(0), sample(1)], lambda batch: answers, key=same_shape, limit=2)
    assert all(isinstance(error, ModelError) for error in results)
    assert f"1 inputs gave {len(answers)} answers" in str(results[0])


def test_the_key_tells_names_shapes_and_types_apart() -> None:
    ones = torch.ones(2)
    tensors = [{"x": ones}, {"y": ones}, {"x": ones[:1]}, {"x": ones.int()}, {"x": ones, "y": ones}]
    assert len({same_shape(Sample(each, None, None)) for each in tensors}) == len(tensors)


def test_stack_adds_the_batch_in_front() -> None:
    batch = stack([sample(1, 3).tensors, sample(2, 3).tensors])
    assert batch["x"].tolist() == [[1, 1, 1], [2, 2, 2]]


def test_a_model_is_given_no_more_rows_at_once_than_allowed() -> None:
    seen: list[int] = []

    def run(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append(len(batch["x"]))
        return {"y": batch["x"] * 2}

    values = torch.arange(7)
    assert torch.equal(in_steps(run, {"x": values}, 3)["y"], values * 2)
    assert seen == [3, 3, 1]


def test_a_failed_batch_leaves_its_memory_to_its_halves() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def predict(batch: Sequence[Sample[None, int]]) -> list[int]:
        assert not any(each() is not None for each in held), "memory of a batch that has failed"
        activations = torch.ones(len(batch), 8)
        held.append(weakref.ref(activations))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [each.meta for each in batch]

    assert run([sample(n) for n in range(8)], predict, key=same_shape, limit=8) == list(range(8))
    assert len(held) == 15
