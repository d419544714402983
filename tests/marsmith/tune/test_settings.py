from __future__ import annotations

from handlers import cpu
from marsmith.recipe.sections import Serving
from marsmith.tune import settings


def test_the_recipes_own_is_tried_first_and_no_batch_is_larger_than_verified() -> None:
    serving = Serving(batch_size=6, max_batch_delay_ms=7)
    ways = settings.space(serving)
    assert ways[0] == settings.of(serving)
    assert {way.batch_size for way in ways} == {1, 4, 6}
    assert all(way.workers * way.threads <= max(cpu.cores(), way.workers) for way in ways)
    assert len({way.name for way in ways}) == len(ways)


def test_a_recipes_own_bound_on_workers_is_kept() -> None:
    serving = Serving(batch_size=4, max_workers=1)  # as what keeps the state of sequences says
    assert {way.workers for way in settings.space(serving)} == {1}
    written = settings.Way(8, 4, 1).serving()
    assert Serving.model_validate(written).max_workers == 8


def test_where_requests_join_a_batch_one_worker_is_all() -> None:
    serving = Serving(batch_size=4, continuous_batching=True, max_workers=1)
    assert {way.workers for way in settings.space(serving)} == {1}
