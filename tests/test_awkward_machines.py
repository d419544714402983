"""On a full disk, a read-only one, without a home and as another user: a sentence and a hint."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from marsmith.cli import commands, new
from tests.support.machines import (
    HOMELESS,
    NO_ENTRY,
    NOBODY,
    Told,
    another_python,
    as_another,
    can_mount,
    on_disk,
)  # fmt: skip
from tests.support.signing_keys import write_keys

FILL = '; dd if=/dev/zero of="$disk/fill" bs=1k status=none; true'
STATE = 'export MARSMITH_STATE="$disk/state"'
READ_ONLY = 'cp tiny.mar "$disk/"; mount -o remount,ro "$disk"'
# Of a build, what is kept for the next one is whole; see marsmith/cache.py.
KEPT = re.compile(r"/\.cache/(made/[^.][^/]*/|logs/|cache/[^.])|/lock$|\.lock$|/torchinductor_")
LONG = "n" * 250


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, digits_archive: Path) -> Iterator[Path]:
    """A folder that all users may read: an archive, a picture, keys, a recipe, a disk's place."""
    with tempfile.TemporaryDirectory(prefix="marsmith-awkward-") as name:
        made = Path(name)
        made.chmod(0o755)
        shutil.copy2(digits_archive, made / "tiny.mar")
        (made / "tiny.mar").chmod(0o644)
        shutil.copy2(made / "tiny.mar", made / "secret.mar")
        (made / "secret.mar").chmod(0o600)
        (made / "input").write_bytes(b"x")
        write_keys(made, "shop")
        write_keys(made, "secret")[0].chmod(0o600)
        new.write("little", "image_classification", made)
        (made / "disk").mkdir()
        yield made


def is_one_sentence(told: Told, words: str) -> None:
    said = re.search(r"^error: (.*)\nhint: (.+)$", told.err, re.MULTILINE)
    assert told.status == 1, told.err
    assert said, told.err
    assert words in said[1]
    assert "Traceback" not in told.err
    assert [file for file in told.left if not KEPT.search(file)] == []


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="only root, or who has the right, mounts a disk")
@pytest.mark.parametrize(
    ("size", "prepare", "command", "words"),
    [
        ("4k", 'cd "$disk"', "new foo --task image_classification", "the disk is full"),
        (
            "8m", 'cp tiny.mar "$disk/"' + FILL, "sign disk/tiny.mar --key shop.pem",
            "the disk is full",
        ),
        ("4k", STATE + FILL, "keys add shop --out shop.key", "the disk is full"),
        ("40k", STATE, "serve tiny.mar --port 0", "No space left on device"),
        ("40k", 'export TMPDIR="$disk"', "run tiny.mar input", "the disk is full"),
        ("4k", "exec > /dev/full", "inspect tiny.mar", "the disk is full"),
        ("4k", "exec > /dev/full", "sbom tiny.mar", "the disk is full"),
        ("4k", "true", "build little/little.yaml --model-store disk/store", "the disk is full"),
        ("60k", "true", "build little/little.yaml --model-store disk/store", "the disk is full"),
        ("900k", "true", "build little/little.yaml --model-store disk/store", "the disk is full"),
        (
            "40k", 'export TMPDIR="$disk"', "build little/little.yaml --model-store store",
            "the disk is full",
        ),
        ("8m", READ_ONLY, "build little/little.yaml --model-store disk", "read-only"),
        ("8m", READ_ONLY, "sign disk/tiny.mar --key shop.pem", "disk/tiny.mar.sig: it is on a"),
        ("8m", READ_ONLY + "; " + STATE, "serve tiny.mar --port 0", "read-only"),
        ("8m", READ_ONLY + "; " + STATE, "keys add shop --out shop.key", "read-only"),
        ("8m", READ_ONLY + '; cd "$disk"', "new foo --task image_classification", "read-only"),
    ],
)  # fmt: skip
def test_a_disk_that_takes_nothing(
    folder: Path, size: str, prepare: str, command: str, words: str
) -> None:
    told = on_disk(size, folder / "disk", prepare, command.split(), folder)
    is_one_sentence(told, words)
    assert sorted(file.name for file in folder.glob("shop.key")) == []
    assert not list(folder.glob("store/*.mar"))


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="only root, or who has the right, mounts a disk")
def test_a_read_only_archive_is_inspected(folder: Path) -> None:
    told = on_disk("8m", folder / "disk", READ_ONLY, ["inspect", "disk/tiny.mar"], folder)
    assert told.status == 0
    assert told.left == ()


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or not another_python()[0],
    reason="only root becomes another user, who needs a Python and the packages",
)
@pytest.mark.parametrize(
    ("who", "command", "words"),
    [
        (NOBODY, "new foo --task image_classification", "foo: permission is denied"),
        (NOBODY, "build little/little.yaml --model-store store", "permission is denied"),
        (NOBODY, "sign tiny.mar --key secret.pem", "not readable"),
        (NOBODY, "sign tiny.mar --key shop.pem", "tiny.mar.sig: permission is denied"),
        (NOBODY, "inspect secret.mar", "not readable"),
        (NOBODY, "run secret.mar input", "not readable"),
        ((*NO_ENTRY, *HOMELESS), "serve tiny.mar --port 0", "there is no home directory"),
        ((*NO_ENTRY, *HOMELESS), "status", "there is no home directory"),
        ((*NO_ENTRY, *HOMELESS), "keys list", "there is no home directory"),
        ((*NO_ENTRY, *HOMELESS), "inspect tiny.mar", ""),
        ((*NO_ENTRY, *HOMELESS), "doctor", ""),
    ],
)
def test_another_user(folder: Path, who: tuple[str, ...], command: str, words: str) -> None:
    before = sorted(folder.rglob("*"))
    told = as_another(who, command.split(), folder)
    assert "Traceback" not in told.err
    if words == "not readable":  # the command line itself says so
        assert told.status == 2
        assert words in told.err
    elif words:
        is_one_sentence(told, words)
    else:
        assert "your code" not in told.err
        assert told.out
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "command",
    [
        ("new", LONG, "--task", "image_classification"),
        ("new", LONG * 2, "--task", "image_classification"),
        ("build", f"{LONG * 2}.yaml"),
        ("inspect", f"{LONG}.mar"),
        ("inspect", f"{LONG * 2}.mar"),
        ("verify", f"{LONG * 2}.mar"),
        ("sign", f"{LONG[:246]}.mar", "--key", "shop.pem"),
        ("sign", "tiny.mar", "--key", LONG * 2),
        ("serve", LONG),
        ("serve", LONG * 2),
        ("serve", "tiny", "--model-store", LONG * 2),
        ("run", f"{LONG * 2}.mar", "input"),
        ("run", "tiny.mar", LONG * 2),
        ("keys", "add", LONG),
        ("adopt", f"{LONG * 2}.mar"),
        ("doctor", "--config", LONG * 2),
    ],
    ids=lambda command: f"{command[0]} {len(command[1])}",
)
def test_a_name_of_250_characters(
    command: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARSMITH_STATE", str(tmp_path / "state"))
    write_keys(tmp_path, "shop")
    (tmp_path / f"{LONG[:246]}.mar").write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as caught:
        commands.main(command)
    told = capsys.readouterr().err
    assert caught.value.code == 1
    assert re.search(r"^error: ", told, re.MULTILINE)
    assert "Traceback" not in told
    assert len(told) < 1000
    assert sorted(tmp_path.rglob("*")) == before
