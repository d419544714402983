"""`marsmith inspect` and `marsmith adopt`, of an archive that others made."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from marsmith.cli import commands
from tests.support import foreign_archives as foreign

Run = Callable[..., tuple[int, str]]


class Shell:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo run",)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            commands.main([str(each) for each in arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return command


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    files: dict[str, str | bytes] = {
        "birds.pth": foreign.state(foreign.net()),
        "net.py": foreign.NET,
        "config.yaml": "batch_size: 8\n",
    }
    folder = tmp_path / "theirs"
    return foreign.pack(
        folder, "image_classifier", files, model="birds.pth", model_file="net.py",
        config="config.yaml",
    )  # fmt: skip


def test_inspect_says_what_is_in_it_and_what_is_wrong(run: Run, birds: Path) -> None:
    code, said = run("inspect", birds)
    assert code == 0
    for words in (
        "not made by marsmith",
        "handler: image_classifier: image_classifier, of TorchServe's",
        "called  torch._utils._rebuild_tensor_v2",
        "wrong: batch_size is nothing that TorchServe reads: batchSize is meant?",
        "verdict: `marsmith adopt` makes a recipe of it",
    ):
        assert words in said
    code, said = run("inspect", birds, "--json")
    assert json.loads(said)["kind"] == "image_classifier"


def test_inspect_warns_of_what_does_harm(run: Run, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"h.py": "class A: pass", "m.pt": pickle.dumps(Shell())}
    code, said = run("inspect", foreign.pack(tmp_path, "h.py", files, model="m.pt"))
    assert code == 0
    assert "called  posix.system  LOOK: no model needs it" in said
    assert "don't serve it" in said


def test_adopt_says_what_it_wrote_and_what_it_lost(run: Run, birds: Path, tmp_path: Path) -> None:
    code, said = run("adopt", birds, "--out", tmp_path / "out")
    assert code == 0
    assert f"wrote {tmp_path / 'out' / 'birds.yaml'}" in said
    assert "not carried over: batch_size of the configuration" in said
    assert f"next: marsmith build {tmp_path / 'out' / 'birds.yaml'}" in said
    code, said = run("adopt", birds, "--out", tmp_path / "out")
    assert code == 1
    assert "is not an empty folder" in said
    code, said = run("adopt", birds, "--out", tmp_path / "again", "--json")
    assert json.loads(said)["recipe"] == str(tmp_path / "again" / "birds.yaml")
    code, said = run("adopt", birds, "--out", tmp_path / "again", "--json")
    assert code == 1
    assert "is not an empty folder" in json.loads(said.partition("\n")[0])["error"]
