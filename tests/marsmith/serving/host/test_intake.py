"""Archives are copied, and then checked: what is served is what was looked at."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from marsmith.archive import signing
from marsmith.archive.reading import Named
from marsmith.errors import ArchiveError
from marsmith.serving.host import intake
from tests.support.hostile_archives import good, hostile, summed
from tests.support.signing_keys import write_keys
from tests.support.zip_writer import written


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARSMITH_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "small.mar"
    path.write_bytes(written(summed(good(tmp_path / "canary"))))
    return path


def take(
    archive: Path, state: Path, *trust: Path, name: str = "small", sha256: str = ""
) -> tuple[list[str], bytes]:
    """Take an archive in, and return what was said and what was kept."""
    said: list[str] = []
    named: Mapping[str, Named] = {name: Named(archive, sha256)}
    with intake.taken(named, state / "servers" / "1", trust, said.append) as kept:
        return said, kept[name].read_bytes()


def test_a_copy_is_kept_that_nobody_else_writes_to(archive: Path, state: Path) -> None:
    before = archive.read_bytes()
    run_dir = state / "servers" / "1"
    with intake.taken({"small": Named(archive)}, run_dir, (), lambda _: None) as kept:
        copy = kept["small"]
        assert copy.is_relative_to(run_dir)
        assert not copy.samefile(archive)
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
        with archive.open("r+b") as stream:  # in place, as a link would show
            stream.write(b"other")
        assert copy.read_bytes() == before
    assert not copy.exists()


def test_what_is_taken_in_is_told_by_its_digest(archive: Path, state: Path) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert take(archive, state, sha256=digest)[0] == [f"small: sha256 {digest}"]
    with pytest.raises(ArchiveError, match=rf"its SHA-256 is {digest}, not 0000"):
        take(archive, state, sha256="0" * 64)


def test_another_model_and_no_file_are_refused(archive: Path, state: Path) -> None:
    with pytest.raises(ArchiveError, match="holds another model than 'other'"):
        take(archive, state, name="other")
    with pytest.raises(ArchiveError, match="can't be copied"):
        take(archive.with_name("none.mar"), state)
    assert not (state / "servers" / "1" / intake.INCOMING).exists()


def test_what_served_before_is_not_taken_in_again(archive: Path, state: Path) -> None:
    said: list[str] = []
    named = {"small": Named(archive)}
    with intake.taken(named, state / "1", (), said.append, before=archive) as kept:
        assert kept == {"small": archive.resolve()}
    assert said == []
    assert archive.exists()


def test_no_hostile_archive_gets_in(state: Path, tmp_path: Path) -> None:
    path, canary = tmp_path / "hostile.mar", tmp_path / "canary"
    for _, data, said in list(hostile(canary))[::8]:
        path.write_bytes(data)
        with pytest.raises(ArchiveError, match=said) as told:
            take(path, state)
        assert str(path) in told.value.message
    assert not canary.exists()
    assert not (state / "servers" / "1" / intake.INCOMING).exists()


def test_who_must_have_signed_is_said_by_the_command_and_by_the_policy(
    archive: Path, state: Path, tmp_path: Path
) -> None:
    pytest.importorskip("model_signing")
    key, public = write_keys(tmp_path, "shop")
    _, stranger = write_keys(tmp_path, "stranger")
    with pytest.raises(ArchiveError, match="is not signed"):
        take(archive, state, public)
    signing.sign(archive, key)
    (told,) = take(archive, state, public)[0]
    assert told.endswith(", signed by shop.pub")
    with pytest.raises(ArchiveError, match="nobody who is trusted"):
        take(archive, state, stranger)
    intake.policy().mkdir(parents=True)
    with pytest.raises(ArchiveError, match="trust is empty"):
        take(archive, state)
    (intake.policy() / "stranger.pub").write_bytes(stranger.read_bytes())
    with pytest.raises(ArchiveError, match="nobody who is trusted"):
        take(archive, state, public)  # a command does not loosen the policy
    (intake.policy() / "shop.pub").write_bytes(public.read_bytes())
    (told,) = take(archive, state, public)[0]
    assert told.endswith(", signed by shop.pub and shop.pub")
    take(archive, state)


def test_what_its_maker_pins_needs_no_signature(archive: Path, state: Path) -> None:
    intake.policy().mkdir(parents=True)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    run_dir = state / "servers" / "1"
    with intake.taken({"small": Named(archive, digest)}, run_dir, None, lambda _: None) as kept:
        assert kept["small"].read_bytes() == archive.read_bytes()
    with (
        pytest.raises(ArchiveError, match=r"small\.mar is named without its SHA-256"),
        intake.taken({"small": Named(archive)}, run_dir, None, lambda _: None),
    ):
        pass
    with pytest.raises(ArchiveError, match="is not signed"):
        take(archive, state, sha256=digest)  # what others pin does
