"""A hung worker is ended soon, and no worker that works: how the timeout is chosen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.base import PATIENCE
from handlers.generation.handler import GenerationConfig
from handlers.task import Config
from handlers.tasks.speech_recognition import SpeechRecognitionConfig
from marsmith.pipeline.patience import STEPS_S, response_timeout_s, with_timeout
from marsmith.recipe.sections import Recipe, Serving
from marsmith.report.measurements import Timing


def chosen(p99_ms: float, batch: int = 1, config: Any = None) -> int:
    timing = Timing(1.0, 1.0, batch, 1, p99_ms)
    return response_timeout_s(Serving(batch_size=batch), config or Config(), timing)


@pytest.mark.parametrize(
    ("p99_ms", "batch", "seconds"),
    [(0.5, 1, 5), (0.5, 16, 30), (400, 8, 60), (30_000, 8, 300), (9e6, 1, 90_000)],
)
def test_it_is_what_was_measured_asks_for(p99_ms: float, batch: int, seconds: int) -> None:
    assert chosen(p99_ms, batch) == seconds


def test_texts_and_recordings_have_their_own_time() -> None:
    assert chosen(1, 1, GenerationConfig(max_seconds=120)) >= 120 / PATIENCE
    assert chosen(1, 1, GenerationConfig(max_seconds=2)) == 60
    assert chosen(1, 1, SpeechRecognitionConfig(max_seconds=300)) >= 300 / PATIENCE


@given(st.floats(0.01, 1e6), st.integers(1, 64), st.integers(1, 2048))
def test_nothing_that_is_allowed_is_cut(p99_ms: float, batch: int, instances: int) -> None:
    found = chosen(p99_ms, batch, Config(max_instances=instances))
    assert found >= max(5, p99_ms / 100, batch)
    one_request = -(-instances // batch) * p99_ms / 1000
    assert found * PATIENCE >= min(60 * PATIENCE, one_request) * 0.999
    assert found in STEPS_S or found > STEPS_S[-1]


def test_a_recipe_that_says_one_keeps_it(digits_recipe: Recipe) -> None:
    timing = Timing(1.0, 1.0, 16, 1, 1.0)
    config: Any = SimpleNamespace(max_instances=1024)
    assert with_timeout(digits_recipe, config, timing).serving.response_timeout_s == 30
    assert with_timeout(digits_recipe, config, None).serving.response_timeout_s == 60
    said = digits_recipe.model_copy(update={"serving": Serving(response_timeout_s=7)})
    assert with_timeout(said, config, timing) is said
