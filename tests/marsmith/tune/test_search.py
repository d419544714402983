from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsmith.bench.figures import Summary
from marsmith.errors import MeasurementError
from marsmith.tune.search import RESOLUTION, Held, Tried, chosen, halving, held
from tests.support.summaries import summary


def halved(
    names: Sequence[str],
    measure: Callable[[str, float], Summary],
    in_time: Callable[[], bool] = lambda: True,
) -> dict[str, Tried]:
    tried: dict[str, Tried] = {}
    halving(names, measure, 1, tried, in_time)
    return tried


@given(st.dictionaries(st.text(min_size=1), st.floats(1, 1e5), min_size=1, max_size=40))
def test_a_planted_optimum_is_found_in_few_runs(rates: dict[str, float]) -> None:
    runs = 0

    def measure(name: str, seconds: float) -> Summary:
        nonlocal runs
        runs += 1
        return summary(rates[name])

    found = chosen(halved(list(rates), measure), dict.fromkeys(rates, 1.0))
    assert found.best is not None
    assert rates[found.best] * 1.03 >= max(rates.values())
    assert found.sure
    assert runs <= 2 * len(rates) + 9 + math.ceil(math.log2(len(rates))) * 3


def test_of_equals_the_least_costly_is_chosen() -> None:
    tried = halved(["large", "small", "slow"], lambda name, _: summary(50 + 50 * (name != "slow")))
    found = chosen(tried, {"large": 8, "small": 1, "slow": 0})
    assert found.best == "small"
    assert "takes the least" in found.why


def test_where_runs_scatter_more_than_the_best_is_ahead_it_is_not_sure() -> None:
    chance = random.Random(0)
    tried = halved(["a", "b"], lambda name, _: summary(100 * chance.uniform(0.5, 1.5)))
    assert not chosen(tried, {"a": 1, "b": 1}).sure


def test_a_setting_whose_requests_fail_is_never_chosen() -> None:
    tried = halved(
        ["fails", "works"],
        lambda name, _: summary(1000, errors={"503": 1}) if name == "fails" else summary(1),
    )
    assert chosen(tried, {"fails": 1, "works": 1}).best == "works"


def test_without_time_the_best_so_far_is_taken_and_not_sure() -> None:
    rates = {"a": 1.0, "b": 9.0, "c": 3.0}
    tried = halved(list(rates), lambda name, _: summary(rates[name]), lambda: False)
    found = chosen(tried, dict.fromkeys(rates, 1.0))
    assert (found.best, found.sure) == ("b", False)


def last(known: Iterator[Held]) -> Held:
    return list(known)[-1]


@pytest.mark.parametrize("limit", [3.0, 70.0, 109.0])
def test_the_rate_that_holds_a_bound_is_found_to_its_resolution(limit: float) -> None:
    found = last(held(lambda rate: summary(rate, 5 if rate <= limit else 500), 110, 50))
    assert found.per_s <= limit
    assert found.per_s >= limit * (1 - RESOLUTION) - 0.5
    assert last(held(lambda rate: summary(rate, 500), 110, 50)).per_s == 0
    assert not list(held(lambda rate: summary(rate, 5), 110, 50, lambda: False))


@pytest.mark.parametrize(("sent", "holds"), [(70.0, 500.0), (90.0, 40.0), (0.1, 500.0)])
def test_a_rate_that_the_generator_cannot_send_is_too_high_and_is_told(
    sent: float, holds: float
) -> None:
    def probe(rate: float) -> Summary:
        if rate > sent:
            raise MeasurementError("the load's generator lagged")
        return summary(rate, 5 if rate <= holds else 500)

    found = last(held(probe, 110, 50))
    limit = min(sent, holds)
    assert limit * (1 - RESOLUTION) - 0.5 <= found.per_s <= limit
    # It matters only where no rate below it was measured as too high.
    assert (found.unsent is not None) == (sent <= holds)
    if found.unsent is not None:
        assert found.per_s < found.unsent <= max(found.per_s / (1 - RESOLUTION), 0.5) + 1e-9


def test_a_setting_that_cannot_be_measured_is_out_and_the_others_stay() -> None:
    def measure(name: str, seconds: float) -> Summary:
        if name == "mute" or (name == "dies" and seconds > 1):
            raise MeasurementError("no request was answered")
        return summary(9 if name == "dies" else 5)

    tried: dict[str, Tried] = {}
    halving(["mute", "dies", "a", "b", "c"], measure, 1, tried)
    assert chosen(tried, dict.fromkeys(tried, 1.0)).best in ("a", "b", "c")
    assert tried["mute"].out == tried["dies"].out == "no request was answered"


def test_where_nothing_can_be_measured_it_says_so() -> None:
    def measure(name: str, seconds: float) -> Summary:
        raise MeasurementError("no request was answered")

    tried: dict[str, Tried] = {}
    halving(["a", "b"], measure, 1, tried)
    found = chosen(tried, dict.fromkeys(tried, 1.0))
    assert (found.best, found.why) == (None, "none could be measured to the end")


def test_what_was_measured_is_there_when_a_search_is_interrupted() -> None:
    def measure(name: str, seconds: float) -> Summary:
        if name == "e":
            raise KeyboardInterrupt
        return summary(5)

    tried: dict[str, Tried] = {}
    with pytest.raises(KeyboardInterrupt):
        halving(["a", "b", "c", "d", "e"], measure, 1, tried)
    assert [name for name, each in tried.items() if each.figures] == ["a", "b", "c", "d"]


def test_a_round_ends_with_the_time_and_what_it_did_not_reach_is_told() -> None:
    rates = {str(each): float(each) for each in range(20)}
    runs = 0

    def measure(name: str, seconds: float) -> Summary:
        nonlocal runs
        runs += 1
        return summary(rates[name])

    tried = halved(list(rates), measure, lambda: runs < 8)
    assert runs <= 8 + 3
    assert chosen(tried, dict.fromkeys(rates, 1.0)).best == "7"
    assert tried["19"].out == "there was no time to try it"


def test_what_was_measured_before_the_time_was_over_keeps_its_figures() -> None:
    rates = {str(each): float(each + 1) for each in range(20)}
    runs = 0

    def measure(name: str, seconds: float) -> Summary:
        nonlocal runs
        runs += 1
        return summary(rates[name])

    tried = halved(list(rates), measure, lambda: runs < 20)
    assert all(each.figures for each in tried.values())
    assert tried["10"].out == "there was no time to measure it for longer"
