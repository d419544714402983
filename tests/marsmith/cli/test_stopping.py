"""A command that is stopped where its signal comes out as an error of something else."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from marsmith.cli import commands, stopping

# As a module written in C does that is being initialised, and pybind11 says it so.
THEIRS = """
import signal

def model():
    try:
        signal.raise_signal(signal.{number})
    except BaseException as error:
        raise ImportError("initialization failed") from error
"""


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield
    stopping.forget()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_it_is_not_told_as_an_error_of_theirs(
    number: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = f"stops_by_{number.lower()}"
    (tmp_path / f"{module}.py").write_text(THEIRS.format(number=number))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"name: r\ntask: image_classification\nsource: {{factory: '{module}:model'}}\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        commands.main(["build", str(recipe), "--model-store", str(tmp_path / "store")])
    told = capsys.readouterr().err
    assert caught.value.code == status, told
    assert "your code raised" not in told
    assert ("stopped: nothing unfinished is left" in told) is (number == "SIGINT")
    assert "Traceback" not in told


def test_what_a_shell_has_had_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stopping.listen()
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
