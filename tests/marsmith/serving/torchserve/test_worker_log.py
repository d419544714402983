"""A model that does not load: told at once, in a few lines, with nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from marsmith.errors import ServerError
from marsmith.serving import server
from marsmith.serving.host.run_folder import read_infos
from marsmith.serving.torchserve.worker_log import ECHOES, LoadWatch

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
        ("exit", "the worker crashed or was killed"),
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
    line = (
        "2026-11-27T18:41:29,818 [ERROR] W-9003-tiny_1.0 org.pytorch.serve.wlm.WorkerThread"
        " - Backend worker error\n"
    )
    why = "org.pytorch.serve.wlm.WorkerInitializationException: Backend"
    (tmp_path / "ts.log").write_text(f"{line}{why} worker startup time out.\n")
    watch.check()

    def closed(times: int) -> None:
        with (tmp_path / "ts.log").open("a") as log:
            log.write(f"{line}{why} stream closed.\n" * times)

    # The process that was ended closes its stream while the next one starts, which TorchServe then
    # takes for the next one's: seen 3 s after the time was up, on a machine with a load of 36.
    closed(ECHOES)
    watch.check()
    closed(1)
    with pytest.raises(ServerError, match="model 'tiny' did not load: the worker crashed"):
        watch.check()


def test_what_follows_the_end_of_one_worker_excuses_no_other(tmp_path: Path) -> None:
    watch = LoadWatch(tmp_path)
    line = "2026-11-27T18:41:29,818 [ERROR] {} org.pytorch.serve.wlm.WorkerThread - Backend worker"
    why = " error\norg.pytorch.serve.wlm.WorkerInitializationException: Backend"
    slow, crashed = line.format("W-9003-slow_1.0"), line.format("W-9004-tiny_1.0")
    (tmp_path / "ts.log").write_text(
        f"{slow}{why} worker startup time out.\n{crashed}{why} stream closed.\n"
    )
    with pytest.raises(ServerError, match="model 'tiny' did not load: the worker crashed"):
        watch.check()
