from __future__ import annotations

import math
import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsmith.bench.figures import Summary
from marsmith.tune.search import RESOLUTION, chosen, halving, held


def figures(per_s: float, p99_ms: float = 10.0, errors: Mapping[str, int] = {}) -> Summary:
    return Summary(
        requests=100, seconds=1, per_s=per_s, p50_ms=p99_ms / 2, p90_ms=p99_ms, p99_ms=p99_ms,
        p999_ms=p99_ms, within_per_s=None, first_p50_ms=1, first_p99_ms=1, tokens_per_s=None,
        errors=errors, lag_p99_ms=0, overloaded=False,
    )  # fmt: skip


@given(st.dictionaries(st.text(min_size=1), st.floats(1, 1e5), min_size=1, max_size=40))
def test_a_planted_optimum_is_found_in_few_runs(rates: dict[str, float]) -> None:
    runs = 0

    def measure(name: str, seconds: float) -> Summary:
        nonlocal runs
        runs += 1
        return figures(rates[name])

    found = chosen(halving(list(rates), measure, 1), dict.fromkeys(rates, 1.0))
    assert found.best is not None
    assert rates[found.best] * 1.03 >= max(rates.values())
    assert found.sure
    assert runs <= 2 * len(rates) + 9 + math.ceil(math.log2(len(rates))) * 3


def test_of_equals_the_least_costly_is_chosen() -> None:
    tried = halving(
        ["large", "small", "slow"], lambda name, _: figures(50 + 50 * (name != "slow")), 1
    )
    found = chosen(tried, {"large": 8, "small": 1, "slow": 0})
    assert found.best == "small"
    assert "takes the least" in found.why


def test_where_runs_scatter_more_than_the_best_is_ahead_it_is_not_sure() -> None:
    chance = random.Random(0)
    tried = halving(["a", "b"], lambda name, _: figures(100 * chance.uniform(0.5, 1.5)), 1)
    assert not chosen(tried, {"a": 1, "b": 1}).sure


def test_a_setting_whose_requests_fail_is_never_chosen() -> None:
    tried = halving(
        ["fails", "works"],
        lambda name, _: figures(1000, errors={"503": 1}) if name == "fails" else figures(1),
        1,
    )
    assert chosen(tried, {"fails": 1, "works": 1}).best == "works"


def test_without_time_the_best_so_far_is_taken_and_not_sure() -> None:
    rates = {"a": 1.0, "b": 9.0, "c": 3.0}
    tried = halving(list(rates), lambda name, _: figures(rates[name]), 1, lambda: False)
    found = chosen(tried, dict.fromkeys(rates, 1.0))
    assert (found.best, found.sure) == ("b", False)


@pytest.mark.parametrize("limit", [3.0, 70.0, 109.0])
def test_the_rate_that_holds_a_bound_is_found_to_its_resolution(limit: float) -> None:
    found = held(lambda rate: figures(rate, 5 if rate <= limit else 500), 110, 50)
    assert found.per_s <= limit
    assert found.per_s >= limit * (1 - RESOLUTION) - 0.5
    assert held(lambda rate: figures(rate, 500), 110, 50).per_s == 0
    assert held(lambda rate: figures(rate, 5), 110, 50, lambda: False).per_s == 0


def test_a_round_ends_with_the_time_and_what_it_did_not_reach_is_told() -> None:
    rates = {str(each): float(each) for each in range(20)}
    runs = 0

    def measure(name: str, seconds: float) -> Summary:
        nonlocal runs
        runs += 1
        return figures(rates[name])

    tried = halving(list(rates), measure, 1, lambda: runs < 8)
    assert runs <= 8 + 3
    assert chosen(tried, dict.fromkeys(rates, 1.0)).best == "7"
    assert tried["19"].out == "there was no time to try it"
