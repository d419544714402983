from __future__ import annotations

import time
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handlers.runtimes import Runtime, Tensors
from marsmith.pipeline import timing
from marsmith.recipe.sections import Recipe, Serving

INPUTS = {1: [{"x": torch.zeros(1)}], 4: [{"x": torch.zeros(4)}]}


def test_the_slower_is_said_to_be_slower() -> None:
    def slow(inputs: Tensors) -> Tensors:
        time.sleep(0.02)
        return inputs

    found, how = timing.compare({"slow": slow, "fast": lambda inputs: inputs}, INPUTS, decides=4)
    assert not how.unsure
    assert found["slow"].p50_ms > found["fast"].p50_ms
    assert found["slow"].samples_per_s < found["fast"].samples_per_s
    assert {each.batch_size for each in found.values()} == {4}


def test_contenders_take_turns_and_are_warmed_up() -> None:
    calls: list[str] = []

    def named(name: str) -> Runtime:
        def run(inputs: Tensors) -> Tensors:
            calls.append(name)
            time.sleep(0.03)  # two timed calls fill a turn
            return inputs

        return run

    timing.compare({"a": named("a"), "b": named("b")}, {1: INPUTS[1]})
    first, later = ["a"] * 4 + ["b"] * 4, ["a"] * 3 + ["b"] * 3
    assert calls == first + later * (timing.ROUNDS - 1)


def test_every_shape_is_warmed_up_and_none_more_often() -> None:
    sizes: list[int] = []

    def run(inputs: Tensors) -> Tensors:
        sizes.append(len(inputs["x"]))
        return inputs

    batches = [{"x": torch.zeros(length)} for length in (3, 5, 3)]
    timing.compare({"a": run}, {1: batches})
    assert sorted(sizes[:4]) == [3, 3, 5, 5]
    assert sizes[4:7] == [3, 5, 3]


def test_who_is_hopeless_is_timed_once_and_the_original_as_often_as_the_fastest() -> None:
    calls: Counter[str] = Counter()

    def named(name: str, seconds: float) -> Runtime:
        def run(inputs: Tensors) -> Tensors:
            calls[name] += 1
            time.sleep(seconds)
            return inputs

        return run

    contenders = {"original": named("original", 0.04), "fast": named("fast", 0.002)}
    contenders |= {"slow": named("slow", 0.04), "slow alone": alone(named("slow alone", 0.04))}
    found, _ = timing.compare(contenders, INPUTS, decides=4, original="original")
    assert calls["original"] > calls["slow"]
    assert found["slow"].p50_ms > found["fast"].p50_ms
    assert calls["slow alone"] > calls["slow"]  # it's the fastest of all at one size


def alone(slow: Runtime) -> Runtime:
    return lambda inputs: slow(inputs) if len(inputs["x"]) > 1 else inputs


RATES = st.lists(st.floats(0.95, 1.05), min_size=5, max_size=20)


@given(RATES, st.floats(1.3, 10))
def test_who_is_ahead_of_all_scatter_is_surely_the_fastest(
    scatter: list[float], ahead: float
) -> None:
    turns = {("a", 1): [[each] for each in scatter], ("b", 1): [[ahead] for _ in scatter]}
    assert timing.undecided(turns, ["a", "b"], 1) == ("a", [])


@given(RATES)
def test_who_is_as_fast_in_every_round_is_surely_so(scatter: list[float]) -> None:
    turns = {(name, 1): [[each] for each in scatter] for name in "ab"}
    assert timing.undecided(turns, ["a", "b"], 1)[1] == []


@given(RATES, st.floats(0.98, 1.02))
def test_who_is_nearly_as_fast_in_every_round_does_not_matter(
    scatter: list[float], ahead: float
) -> None:
    turns = {("a", 1): [[each] for each in scatter], ("b", 1): [[ahead * each] for each in scatter]}
    assert timing.undecided(turns, ["a", "b"], 1)[1] == []


@given(st.permutations([1.0, 1.1, 1.2, 1.3, 1.4, 1.5]))
def test_where_rounds_scatter_more_than_one_is_ahead_it_isnt_sure(other: list[float]) -> None:
    turns = {("a", 1): [[1.25]] * 6, ("b", 1): [[each] for each in other]}
    best, unsure = timing.undecided(turns, ["a", "b"], 1)
    assert {best, *unsure} == {"a", "b"}


def test_only_those_that_may_be_the_fastest_are_timed_on_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: Counter[str] = Counter()

    def named(name: str) -> Runtime:
        def run(inputs: Tensors) -> Tensors:
            calls[name] += 1
            time.sleep(0.03)
            return inputs

        return run

    monkeypatch.setattr(timing, "MOST_ROUNDS", timing.ROUNDS + 2)
    monkeypatch.setattr(timing, "undecided", lambda turns, names, size: ("a", ["b"]))
    contenders = {name: named(name) for name in "abc"}
    _, how = timing.compare(contenders, {1: INPUTS[1]})
    assert calls["a"] == calls["b"] == calls["c"] + 2 * 3
    assert (how.rounds, how.unsure) == (timing.ROUNDS + 2, ("a", "b"))


@pytest.mark.parametrize(
    ("handler", "workers", "expected"), [({"threads": 3}, 1, 3), ({}, 1024, 1)]
)
def test_threads_are_a_workers_and_given_back(
    digits_recipe: Recipe, handler: dict[str, int], workers: int, expected: int
) -> None:
    serving = Serving(min_workers=workers, max_workers=workers)
    recipe = digits_recipe.model_copy(update={"handler": handler, "serving": serving})
    before = torch.get_num_threads()
    with timing.threads(recipe) as count:
        assert count == torch.get_num_threads() == expected
    assert torch.get_num_threads() == before
