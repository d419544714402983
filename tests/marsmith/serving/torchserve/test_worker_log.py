"""A model that does not load: told at once, in a few lines, with nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from marsmith.errors import ServerError
from marsmith.serving import server
from marsmith.serving.host.run_folder import read_infos
from marsmith.serving.torchserve.worker_log import LoadWatch

MakeArchive = Callable[..., Path]


@pytest.mark.usefixtures("own_state")
@pytest.mark.parametrize(
    ("fail", "reason"),
    [
        ("runtime", "RuntimeError: weights.bin is not there"),
        pytest.param(
            "import",
            "ModuleNotFoundError: No module named 'no_such_engine'",
            marks=pytest.mark.slow,
        ),
        pytest.param("exit", "the worker crashed or was killed", marks=pytest.mark.slow),
    ],
)
def test_a_failing_load_is_explained_and_not_waited_for(
    make_tiny_archive: MakeArchive,
    assert_nothing_is_left: Callable[[], None],
    fail: str,
    reason: str,
) -> None:
    archive = make_tiny_archive("tiny", fail=fail)
    with pytest.raises(ServerError) as caught:  # had it waited, it would say that the time is up
        server.serve([archive], port=0)
    first, *trace = caught.value.message.splitlines()
    assert reason in first
    assert len(trace) <= 15
    assert not any("[INFO" in line or "/ts/" in line for line in trace)
    assert Path(caught.value.hint.removeprefix("see the rest in ")).is_file()
    assert_nothing_is_left()
    assert read_infos() == []


def test_a_worker_that_was_too_slow_is_waited_for_as_torchserve_starts_it_again(
    tmp_path: Path,
) -> None:
    watch = LoadWatch(tmp_path)

    def fail(time: str, why: str) -> None:
        with (tmp_path / "ts.log").open("a") as log:
            log.write(
                f"2026-11-27T{time},569 [ERROR] W-9003-tiny_1.0 org.pytorch.serve.wlm.WorkerThread"
                " - Backend worker error\n"
                f"org.pytorch.serve.wlm.WorkerInitializationException: Backend {why}.\n"
            )

    fail("21:31:06", "worker startup time out")
    watch.check()
    fail("21:31:09", "stream closed")  # that of the process which was too slow
    watch.check()
    fail("21:31:59", "stream closed")
    with pytest.raises(ServerError, match="model 'tiny' did not load: the worker crashed"):
        watch.check()
