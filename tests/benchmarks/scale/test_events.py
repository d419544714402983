from __future__ import annotations

import math

import pytest

pytest.importorskip("simpy")

from benchmarks.scale import events
from benchmarks.scale.events import Machine
from benchmarks.scale.replica import Settings
from benchmarks.scale.traffic import any_of, less_busy_of_two

# Twenty a second each, of which one that has to wait for two seconds is refused.
SMALL = Machine(
    settings=Settings(lambda size, chance: 0.05, limit=40),
    per_s=20.0,
    beyond=(0.001,),
    start_s=4.0,
    archive_bytes=10_000_000,
    registry_bytes_s=10_000_000.0,
)


def test_those_that_start_together_share_the_registry() -> None:
    assert SMALL.ready_s(1) == 5
    assert SMALL.ready_s(10) == 14


def test_what_is_left_carries_the_load_of_a_lost_zone_only_if_there_is_room() -> None:
    roomy, tight = (events.lost_zone(SMALL, 6, use, noticed_s=2) for use in (0.4, 0.8))
    assert roomy.failed == 0  # clients come again, after the balancer has noticed
    assert roomy.worst_ms > 1000
    assert roomy.over_s < 10
    assert math.isinf(tight.over_s)


def test_a_balancer_that_never_notices_fails_some_for_all_their_tries() -> None:
    seen = events.lost_zone(SMALL, 6, 0.4, noticed_s=40)
    assert 0.01 < seen.failed < 1 / 3


def test_a_herd_is_refused_and_passes() -> None:
    seen = events.herd(SMALL, 6, 0.4)
    assert seen.worst_ms > 5 * seen.calm_ms
    assert seen.over_s < 35


def test_an_autoscaler_follows_after_it_has_looked_and_all_has_started() -> None:
    seen = events.doubled(SMALL, 4, 0.7)
    assert events.LOOK_S < seen.over_s < 60
    assert math.isinf(events.lost_zone(SMALL, 4, 1.0, noticed_s=0).over_s)


def test_nobody_is_answered_before_the_first_has_started() -> None:
    seen = events.cold(SMALL, 4, 0.5)
    assert seen.failed > 0.05
    assert SMALL.ready_s(4) <= seen.over_s < SMALL.ready_s(4) + 20


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_deploy_loses_nothing(share: float) -> None:
    seen = events.deploy(SMALL, 4, 0.5, share)
    assert seen.failed == 0
    assert seen.worst_ms < 1000


def test_who_knows_what_is_on_its_way_balances_better() -> None:
    chance = events.p99_of(SMALL, 0.7, any_of, 10, 4000)
    assert events.p99_of(SMALL, 0.7, less_busy_of_two, 10, 4000) < 0.7 * chance
    assert math.isinf(events.p99_of(SMALL, 1.5, any_of, 10, 4000))
