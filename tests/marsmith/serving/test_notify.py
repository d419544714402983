"""What systemd hears."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from marsmith.serving import notify


def test_systemd_hears_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    for address, bound in ((path, path), ("@marsmith-test-notify", "\0marsmith-test-notify")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(bound)
            systemd.settimeout(60)
            monkeypatch.setenv("NOTIFY_SOCKET", address)
            notify.say("READY=1")
            assert systemd.recv(100) == b"READY=1"


def test_nothing_happens_where_nobody_listens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.say("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify.say("READY=1")
