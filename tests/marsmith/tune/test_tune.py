from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsmith.bench.figures import Summary
from marsmith.bench.measure import Traffic
from marsmith.errors import MarsmithError, MeasurementError, ServerError
from marsmith.tune.search import RESOLUTION, Found
from marsmith.tune.settings import Way
from marsmith.tune.tune import find
from tests.support.summaries import summary

SMALL, LARGE = Way(1, 8, 1), Way(2, 8, 1)
WAYS = {each.name: each for each in (SMALL, LARGE)}


def machine(holds: Mapping[str, float], sends: float = 1e9) -> Callable[[str, Traffic], Summary]:
    """Ways that answer so many requests per second in time, and a generator that sends so many."""

    def run(name: str, traffic: Traffic) -> Summary:
        if traffic.rate is None:
            return summary(2 * holds[name])
        if traffic.rate > sends:
            raise MeasurementError("the load's generator lagged")
        return summary(traffic.rate, 5 if traffic.rate <= holds[name] else 500)

    return run


def found(run: Callable[[str, Traffic], Summary], p99_ms: float | None = 50) -> Found:
    return find(WAYS, run, p99_ms, 16, lambda share: True)


def test_a_rate_that_cannot_be_sent_ends_no_search_and_is_told() -> None:
    at = found(machine({SMALL.name: 100, LARGE.name: 1000}, sends=615))
    assert at.best == LARGE.name
    assert 615 * 0.94 < at.held[LARGE.name].per_s <= 615
    assert "requests/s could not be sent in time by the load's generator" in at.why
    assert at.sure


@pytest.mark.parametrize(("small", "asked"), [(100, 0), (600, 1)])
def test_others_are_only_asked_whether_they_hold_more(small: float, asked: int) -> None:
    probes: list[str] = []
    whole = machine({SMALL.name: small, LARGE.name: 1000})

    def run(name: str, traffic: Traffic) -> Summary:
        probes.extend([name] if traffic.rate is not None else [])
        return whole(name, traffic)

    at = found(run)
    assert (at.best, at.sure) == (LARGE.name, True)
    assert probes.count(SMALL.name) == asked  # whose closed loop says already that it can't
    assert at.held[SMALL.name].per_s == 0
    assert small < (at.held[SMALL.name].under or 0) <= 1.1 * 1000


@given(st.lists(st.tuples(st.floats(1, 1000), st.floats(1, 2)), min_size=1, max_size=3))
def test_who_holds_most_is_found_whatever_a_closed_loop_says(
    ways: list[tuple[float, float]],
) -> None:
    names = {Way(1, size + 1, 1).name: each for size, each in enumerate(ways)}

    def run(name: str, traffic: Traffic) -> Summary:
        holds, more = names[name]
        if traffic.rate is None:
            return summary(more * holds)  # clients that wait get more answers than a rate may be
        return summary(traffic.rate, 5 if traffic.rate <= holds else 500)

    at = find(dict.fromkeys(names, SMALL), run, 50, 16, lambda share: True)
    most = max(holds for holds, _ in ways)
    assert at.best is not None
    assert at.held[at.best].per_s >= most * (1 - RESOLUTION) ** 2 - 0.5
    assert names[at.best][0] >= at.held[at.best].per_s


def test_where_another_may_hold_more_than_could_be_sent_it_is_not_sure() -> None:
    at = found(machine({SMALL.name: 1000, LARGE.name: 1000}, sends=615))
    assert at.best is not None
    assert not at.sure


def test_where_no_rate_could_be_sent_nothing_is_chosen_and_the_rows_are_there() -> None:
    at = found(machine({SMALL.name: 100, LARGE.name: 1000}, sends=0))
    assert at.best is None
    assert "could not be sent in time by the load's generator" in at.why
    assert all(each.figures and not each.out for each in at.tried.values())


def test_a_bound_that_nothing_holds_is_told() -> None:
    at = found(machine({SMALL.name: 100, LARGE.name: 100}), p99_ms=1)
    assert (at.best, at.why) == (None, "none was shown to answer within 1 ms")


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), SystemExit(143), MarsmithError("x")])
@pytest.mark.parametrize("rate", [None, 990.0])
def test_what_was_measured_outlives_what_ends_a_search(
    problem: BaseException, rate: float | None
) -> None:
    whole = machine({SMALL.name: 100, LARGE.name: 1000})

    def run(name: str, traffic: Traffic) -> Summary:
        if name == LARGE.name and (rate is None or 0 < (traffic.rate or 0) < rate):
            raise problem
        return whole(name, traffic)

    at = found(run)
    assert (at.best, at.sure) == (None, False)
    assert at.why.startswith("the search was interrupted")
    assert at.tried[SMALL.name].figures
    assert list(at.held) == ([LARGE.name] if rate is not None else [])


def test_a_finalist_that_does_not_start_again_is_out_and_the_others_are_asked() -> None:
    whole = machine({SMALL.name: 100, LARGE.name: 1000})

    def run(name: str, traffic: Traffic) -> Summary:
        if name == LARGE.name and traffic.rate is not None:
            raise ServerError("it did not start: the time is up")
        return whole(name, traffic)

    at = found(run)
    assert at.best == SMALL.name
    assert list(at.held) == [SMALL.name]
    assert at.tried[LARGE.name].out == "it did not start: the time is up"
    assert at.tried[LARGE.name].figures
