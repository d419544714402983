"""Folders: who may write where, and how much room there is."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from marsmith.doctor import places

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARSMITH_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1e12, 0, 1e12))
    return tmp_path / "state"


def bad(store: Path) -> list[str]:
    return [each.what for each in places.check(store) if each.level == "bad"]


def test_folders_that_are_not_there_yet_are_fine(state: Path) -> None:
    assert bad(state / "store") == []
    assert not state.exists()


def test_others_may_not_read_keys_nor_choose_whom_to_trust(state: Path) -> None:
    (state / "trust").mkdir(parents=True)
    (state / "servers" / "8080").mkdir(parents=True, mode=0o700)
    (state / "keys.json").touch(mode=0o600)
    (state / "trust" / "shop.pub").touch(mode=0o644)
    assert bad(state) == []
    (state / "keys.json").chmod(0o640)
    (state / "servers" / "8080").chmod(0o755)
    (state / "trust" / "shop.pub").chmod(0o666)
    said = bad(state)
    assert len(said) == 3
    assert [what for what in said if "keys.json: others may read it (-rw-r-----)" in what]
    assert [what for what in said if "shop.pub: others may write to it" in what]


def test_a_store_that_everybody_writes_to_is_bad(state: Path) -> None:
    store = state / "store"
    store.mkdir(parents=True)
    store.chmod(0o777)
    assert len(bad(store)) == 1
    store.chmod(0o775)
    assert bad(store) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_store_that_can_not_be_written_to_is_bad(state: Path) -> None:
    state.mkdir(mode=0o500)
    assert len(bad(state / "store")) == 2


def test_a_full_disk_and_a_file_in_the_way_are_bad(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state.parent / "file").touch()
    assert bad(state.parent / "file" / "store")[0].endswith(f"{state.parent / 'file'} is a file")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1e12, 0, 5e8))
    assert len(bad(state / "store")) == 3


def test_no_home_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MARSMITH_STATE", raising=False)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(places, "state_folder", nobody)
    assert "there is no home directory" in bad(tmp_path)
