from __future__ import annotations

from pathlib import Path

from marsmith.serving.torchserve.readiness import WARM_UP_REQUESTS, WINDOW, is_steady, last_lines


def test_a_pace_is_steady_after_enough_requests_that_take_equally_long() -> None:
    level = [0.01] * WARM_UP_REQUESTS
    assert is_steady(level)
    assert not is_steady(level[1:])
    assert is_steady([1.0] * WINDOW + level)  # the first ones don't count
    assert is_steady([*level, 5.0])  # nor does one that took long
    assert not is_steady([*level, *[0.005] * WINDOW])


def test_the_end_of_a_file_that_may_not_be_there(tmp_path: Path) -> None:
    file = tmp_path / "console.log"
    assert last_lines(file) == ""
    file.write_bytes(b"one\ntwo\nthr\xffe\n")
    assert last_lines(file, 2) == "two\nthr\ufffde"
