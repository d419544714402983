"""`marsmith ui`, as far as it comes without a server; tests/marsmith/ui/ has the rest."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from marsmith.cli.ui import LOOPBACK, ui
from marsmith.errors import MarsmithError


def start(
    server_port: int | None = None, address: str | None = None, key: Path | None = None
) -> None:
    ui(
        server_port=server_port, address=address, key=key, ca=None, host=LOOPBACK, port=0,
        browser=False, model_store=Path(), timeout_s=5.0,
    )  # fmt: skip


def test_without_a_server_there_is_no_page(own_state: Path) -> None:
    with pytest.raises(MarsmithError, match="no server of marsmith runs") as caught:
        start()
    assert "marsmith serve" in caught.value.hint


def test_a_key_without_an_address_is_refused_and_so_are_two_servers() -> None:
    with pytest.raises(MarsmithError, match="--key and --ca are for a server at an --address"):
        start(key=Path("a.key"))
    with pytest.raises(MarsmithError, match="both name a server"):
        start(server_port=8080, address="http://127.0.0.1:8080")


def test_what_is_not_installed_is_said_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> object:
        return None if name == "uvicorn" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(MarsmithError, match="uvicorn is not installed") as caught:
        start()
    assert caught.value.hint == "pip install 'marsmith[ui]'"
