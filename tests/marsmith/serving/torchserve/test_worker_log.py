"""A model that does not load: told at once, in a few lines, with nothing left behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from marsmith.errors import ServerError
from marsmith.harness.tracebacks import shorten_traceback
from marsmith.serving.torchserve import server
from marsmith.serving.torchserve.run_folder import read_infos

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
        ("{", "Failed to parse model config file"),
    ],
)
def test_a_failing_load_is_explained_at_once(
    make_tiny_archive: MakeArchive,
    assert_nothing_is_left: Callable[[], None],
    fail: str,
    reason: str,
) -> None:
    archive = make_tiny_archive("tiny", fail=fail)
    started = time.monotonic()
    with pytest.raises(ServerError) as caught:
        server.serve([archive], port=0, timeout_s=60)
    assert time.monotonic() - started < 15
    first, *trace = caught.value.message.splitlines()
    assert reason in first
    assert len(trace) <= 15
    assert not any("[INFO" in line or "/ts/" in line for line in trace)
    assert Path(caught.value.hint.removeprefix("All of it is in ").rstrip(".")).is_file()
    assert_nothing_is_left()
    assert read_infos() == []


def test_an_import_that_fails_is_not_hidden_by_the_loaders_second_try() -> None:
    lines = [
        "Backend worker process died.",
        "Traceback (most recent call last):",
        '  File "/venv/ts/model_loader.py", line 108, in load',
        "    module = importlib.import_module(module_name)",
        '  File "/tmp/x/models/0123456789abcdef0123456789abcdef/h.py", line 1, in <module>',
        "    import gone",
        "ModuleNotFoundError: No module named 'gone'",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        "Traceback (most recent call last):",
        '  File "/venv/ts/model_loader.py", line 114, in load',
        "    module = self._load_default_handler(handler)",
        "ModuleNotFoundError: No module named 'ts.torch_handler.h'",
    ]
    headline, trace = shorten_traceback(lines)
    assert headline == "ModuleNotFoundError: No module named 'gone'"
    assert trace == [
        "Traceback (most recent call last):",
        '  File "h.py", line 1, in <module>',
        "    import gone",
        headline,
    ]
