"""How much memory is free."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from marsmith.serving.host import memory


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max", 10_000),  # no limit
        ("5000", 5_000 - 3_000 + 1_000),
        ("90000", 10_000),
        ("1500", 0),
        (None, 10_000),
    ],
)
def test_a_containers_limit_bounds_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, expected: int
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("3000\n")
        (tmp_path / "memory.stat").write_text("anon 1500\ninactive_file 1000\n")
    assert memory.free() == expected
