"""What a machine has, and what it lacks."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from handlers import cpu
from marsmith.doctor import machine

RELEASE = 'JAVA_VERSION="17.0.9"\nJAVA_VERSION_DATE="2023-10-17"\nLIBC="gnu"\n'


def test_this_machine_can_serve() -> None:
    found = list(machine.check())
    assert [each.what for each in found if each.level == "bad"] == []
    said = " ".join(each.what for each in found)
    for word in ("Python 3.", "torch 2.", "torchserve 0.12.0", "HAProxy version", "Java "):
        assert word in said
    assert [each.what for each in found if each.level == "note" and not each.hint] == []


@pytest.mark.parametrize(
    ("need", "words"),
    [
        ("torch>=2.6", ""),
        ("torch>=99", "not >=99"),
        ("not-there-at-all>=1", "not-there-at-all is not installed"),
    ],
)
def test_what_is_not_installed_as_declared_is_said(need: str, words: str) -> None:
    said = machine.lacking(Requirement(need))
    assert words in said
    assert bool(said) == bool(words)


def test_what_is_missing_is_bad_or_known_by_what_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_version", lambda name: "" if name in ("onnx", "httpx") else "99")
    found = {each.what.partition(" ")[0]: each for each in machine.packages()}
    assert found["marsmith"].level == "bad"
    assert found["marsmith"].what.count("is not installed") == 1
    assert found["marsmith[onnx]"].level == "note"
    assert found["marsmith[onnx]"].hint == "pip install 'marsmith[onnx]'"


def test_a_java_says_how_old_it_is() -> None:
    assert machine.java_age(RELEASE, date(2023, 10, 27)) == ("17.0.9", 10)
    assert machine.java_age("", date(2023, 10, 27)) == ("of an unknown version", None)


def test_no_java_no_haproxy_and_an_old_cpu_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "haproxy"
    old.write_text("#!/bin/sh\necho 'HAProxy version 2.6.1 2022/06/21 - https://haproxy.org/'\n"
                   "echo 'Status: End of life - please upgrade to branch 3.2.'\n")  # fmt: skip
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr("marsmith.serving.torchserve.java._candidates", lambda: iter(()))
    monkeypatch.setattr(cpu, "instructions", frozenset)
    said = {each.what: each for each in machine.check()}
    assert [each.level for what, each in said.items() if "needs Java" in what] == ["bad"]
    assert any("nobody mends this branch" in what for what in said)
    assert any(what.startswith("no vnni") for what in said)
    assert any("C++ compiler" in what for what in said)
