from __future__ import annotations

import threading
from pathlib import Path

import pytest
from torch._C._distributed_c10d import HashStore

from marsmith.training.watching import Hearing
from tests.support.nodes import ADDRESSES, PORT, Nodes
from tests.support.waiting import wait_until


def test_who_counts_is_heard_and_who_stopped_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marsmith.training.watching.BEAT_S", 0.01)
    store, names = HashStore(), ["one", "other"]
    both, over = [Hearing(names, name) for name in names], [threading.Event() for _ in names]
    threads = [
        threading.Thread(target=each.listen, args=(store, end))
        for each, end in zip(both, over, strict=True)
    ]
    for thread in threads:
        thread.start()
    both[0].now = 7
    wait_until(lambda: both[0].heard == {"one": 7, "other": 7})
    over[1].set()
    threads[1].join()
    both[0].now = 9
    wait_until(lambda: both[0].heard["one"] == 9)
    both[0].now = 11
    wait_until(lambda: both[0].heard["one"] == 11)
    assert both[0].heard["other"] <= 9
    over[0].set()
    threads[0].join()


@pytest.mark.slow
def test_a_node_that_loses_its_network_is_not_waited_for(tmp_path: Path) -> None:
    nodes = Nodes()
    try:
        nodes.set_up()
        words = [tmp_path / f"said-{place}" for place in range(2)]
        started = [
            nodes.start(
                place, ["-m", "tests.support.small_training", "wait", str(tmp_path)], words[place],
                MASTER_ADDR=ADDRESSES[0], MASTER_PORT=str(PORT), RANK=str(place), WORLD_SIZE="2",
            )
            for place in range(2)
        ]  # fmt: skip
        wait_until(lambda: all("all are here" in file.read_text() for file in words))
        assert all(process.poll() is None for process in started)
        nodes.cut()
        assert [process.wait(200) for process in started] == [1, 1]
        for file in words:
            *_, error, hint = file.read_text().splitlines()
            assert error == "error: another process of this build was not heard of for 5 s"
            assert hint.startswith("hint: see whether its node is up")
    finally:
        nodes.end()
