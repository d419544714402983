from __future__ import annotations

import time

import pytest
import torch

from handlers.runtimes import Runtime, Tensors
from marsmith.pipeline import timing
from marsmith.recipe.sections import Recipe, Serving

INPUTS = {1: [{"x": torch.zeros(1)}], 4: [{"x": torch.zeros(4)}]}


def test_the_slower_is_said_to_be_slower() -> None:
    def slow(inputs: Tensors) -> Tensors:
        time.sleep(0.02)
        return inputs

    found = timing.compare({"slow": slow, "fast": lambda inputs: inputs}, INPUTS)
    assert found["slow"].p50_ms > found["fast"].p50_ms
    assert found["slow"].samples_per_s < found["fast"].samples_per_s
    assert {each.batch_size for each in found.values()} == {4}


def test_contenders_take_turns_and_are_warmed_up() -> None:
    calls: list[str] = []

    def named(name: str) -> Runtime:
        def run(inputs: Tensors) -> Tensors:
            calls.append(name)
            time.sleep(0.1)  # two timed calls fill a turn
            return inputs

        return run

    timing.compare({"a": named("a"), "b": named("b")}, {1: INPUTS[1]})
    first, later = ["a"] * 4 + ["b"] * 4, ["a"] * 3 + ["b"] * 3
    assert calls == first + later * (timing.ROUNDS - 1)


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
