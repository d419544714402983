from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from marsmith.errors import ServerError
from marsmith.tune.groups import Groups
from marsmith.tune.search import Tried, halving
from marsmith.tune.settings import Way
from tests.support.summaries import summary

WAYS = {each.name: each for each in (Way(n, 8, d) for n in (1, 2) for d in range(10))}


class Machine:
    """Starts what it is asked to, unless one of it doesn't start; keeps what it was asked."""

    def __init__(self, mute: Sequence[str] = ()) -> None:
        self.mute = mute
        self.asked: list[Sequence[str]] = []
        self.live: Sequence[str] = ()

    @contextmanager
    def start(self, names: Sequence[str]) -> Iterator[Any]:
        assert not self.live, "one server at a time"
        self.asked.append(names)
        if set(names) & set(self.mute):
            raise ServerError("the time is up\nand so on")
        self.live = names
        try:
            yield names
        finally:
            self.live = ()


def searched(
    machine: Machine, room: Callable[[], int], names: Sequence[str] = tuple(WAYS)
) -> dict[str, Tried]:
    tried: dict[str, Tried] = {}
    with Groups(WAYS, machine.start, room) as groups:

        def measure(name: str, _: float) -> Any:
            groups.server_of(name)
            assert name in machine.live
            return summary(100 + list(WAYS).index(name))

        halving(names, measure, 1, tried, begin=groups.begin)
    assert not machine.live
    return tried


def workers(names: Sequence[str]) -> int:
    return sum(WAYS[name].workers for name in names)


def test_no_more_workers_live_at_once_than_there_is_room_for() -> None:
    machine = Machine()
    tried = searched(machine, lambda: 8)
    assert all(each.figures for each in tried.values())
    assert max(map(workers, machine.asked)) <= 8
    # 30 workers in the first round, at most 20 in the second, 10 in the third; then the finalists.
    assert len(machine.asked) <= 5 + 3 + 2 + 1
    assert machine.asked[-1] == [f"w2_b8_d{each}" for each in (9, 8, 7)]


def test_what_lives_is_not_started_again() -> None:
    machine = Machine()
    searched(machine, lambda: 100)
    assert machine.asked == [list(WAYS)]


def test_a_way_that_is_larger_than_the_room_is_served_alone() -> None:
    machine = Machine()
    tried = searched(machine, lambda: 0, list(WAYS)[-3:])
    assert all(each.figures for each in tried.values())
    assert {len(each) for each in machine.asked} == {1}


def test_the_room_is_asked_for_before_each_server_starts() -> None:
    machine, rooms = Machine(), iter([4, 8])
    with Groups(WAYS, machine.start, lambda: next(rooms)) as groups:
        groups.begin(list(WAYS))
        groups.server_of("w1_b8_d0")
        groups.server_of("w1_b8_d4")
    assert [len(each) for each in machine.asked] == [4, 7]


def test_a_way_that_does_not_start_is_out_with_the_reason_and_the_others_go_on() -> None:
    machine = Machine(mute=["w1_b8_d3"])
    tried = searched(machine, lambda: 8)
    assert tried["w1_b8_d3"] == Tried(out="it did not start: the time is up")
    assert all(each.figures for name, each in tried.items() if name != "w1_b8_d3")
    # Once beside others, once alone; its neighbours were alone for one run, and no longer.
    assert sum("w1_b8_d3" in each for each in machine.asked) == 2
    assert len(machine.asked[-1]) == 3


def test_a_way_that_did_not_start_is_not_tried_beside_others_again() -> None:
    machine = Machine(mute=["w1_b8_d0"])
    with Groups(WAYS, machine.start, lambda: 8) as groups:
        groups.begin(list(WAYS))
        for _ in range(2):
            with pytest.raises(ServerError, match="did not start"):
                groups.server_of("w1_b8_d0")
    assert [len(each) for each in machine.asked] == [8, 1, 1]
