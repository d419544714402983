from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from marsmith.client.clients import Client
from marsmith.errors import ServerError
from marsmith.serving.torchserve.readiness import (
    OTHERS_REQUESTS,
    WARM_UP_REQUESTS,
    is_steady,
    last_lines,
    wait_for_workers,
)


@pytest.mark.parametrize("least", [WARM_UP_REQUESTS, OTHERS_REQUESTS])
def test_a_pace_is_steady_after_enough_requests_that_take_equally_long(least: int) -> None:
    level = [0.01] * least
    assert is_steady(level, least)
    assert not is_steady(level[1:], least)
    assert is_steady([1.0] * least + level, least)  # the first ones don't count
    assert is_steady([*level, 5.0], least)  # nor does one that took long
    assert not is_steady([*level, *[0.005] * (least // 2)], least)


def test_the_end_of_a_file_that_may_not_be_there(tmp_path: Path) -> None:
    file = tmp_path / "console.log"
    assert last_lines(file) == ""
    file.write_bytes(b"one\ntwo\nthr\xffe\n")
    assert last_lines(file, 2) == "two\nthr\ufffde"


def test_a_server_too_busy_to_say_how_far_it_is_is_waited_for() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        deadline = time.monotonic() + 0.2
        with (
            Client(address, address, timeout_s=0.1, retries=0) as client,
            pytest.raises(ServerError, match=r"the time is up, .*: tiny: no answer yet"),
        ):
            wait_for_workers(client, {"tiny": 1}, lambda: None, deadline, lambda line: None)
