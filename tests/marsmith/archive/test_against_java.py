"""What TorchServe's own Java unpacks: all of what our reader takes, and more of what it refuses."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import ts

from marsmith.archive import reading
from marsmith.errors import ArchiveError
from tests.support import streamed_zips
from tests.support.hostile_archives import good_ones, hostile
from tests.support.paths import ROOT

JAR = Path(ts.__file__).parent / "frontend" / "model-server.jar"
CANARY = Path("/tmp/marsmith-canary-of-unpacked-archives")
# Unpacked, each has files that Python's zipfile, or a list of sums, knows nothing of.
HIDDEN = ("hidden: entry before all", "hidden: entry between", "hidden: entry behind all")
UNLISTED = ("lists: without sitecustomize.py", "lists: without yaml.py", "lists: without more.pt")
TWINS = ("collisions: 'a' 'A'",)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("javac") is None, reason="a JDK compiles what calls the jar"),
]


@pytest.fixture(scope="module")
def archives() -> dict[str, bytes]:
    chosen = {*HIDDEN, *UNLISTED, *TWINS}
    found = {name: data for name, data, _ in hostile(CANARY) if name in chosen}
    assert found.keys() == chosen
    return good_ones(CANARY) | found


@pytest.fixture(scope="module")
def unpacked(
    archives: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """The SHA-256 of every file that Java has unpacked, by its name, for each archive."""
    folder = tmp_path_factory.mktemp("java")
    (folder / "in").mkdir()
    names = {f"{number}.mar": name for number, name in enumerate(archives)}
    for file, name in names.items():
        (folder / "in" / file).write_bytes(archives[name])
    code = ROOT / "tests" / "support" / "Unzip.java"
    command = ["java", "-cp", str(JAR), str(code), str(folder / "in"), str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == ""
    return {name: digests(folder / "out" / file) for file, name in names.items()}


def digests(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def test_what_is_taken_is_what_java_unpacks(
    archives: dict[str, bytes], unpacked: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "small.mar"
    for name in good_ones(CANARY):
        path.write_bytes(archives[name])
        found = reading.check(path, tmp_path / name)
        assert {n: digest for n, (_, digest) in found.files.items()} == unpacked[name]
        assert digests(tmp_path / name) == unpacked[name]


def test_a_stream_is_read_as_java_reads_it(
    archives: dict[str, bytes], unpacked: dict[str, dict[str, str]]
) -> None:
    for name in archives:
        read = {
            entry: hashlib.sha256(content).hexdigest()
            for entry, content in streamed_zips.entries(archives[name])
            if not entry.endswith("/")
        }
        assert read == unpacked[name], name


@pytest.mark.parametrize("name", [*HIDDEN, *UNLISTED, *TWINS])
def test_what_java_would_see_otherwise_is_refused(
    archives: dict[str, bytes], unpacked: dict[str, dict[str, str]], name: str, tmp_path: Path
) -> None:
    path = tmp_path / "small.mar"
    path.write_bytes(archives[name])
    with zipfile.ZipFile(path) as opened:
        listed, sums = set(opened.namelist()), opened.read("MAR-INF/SHA256SUMS").decode()
    there = unpacked[name].keys()
    if name in HIDDEN:
        assert there - listed == {"sitecustomize.py"}
    elif name in UNLISTED:
        (more,) = (each for each in there if f"  {each}\n" not in sums and "SHA256SUMS" not in each)
        assert more == name.rpartition(" ")[2]
    else:
        assert len({each.lower() for each in there}) < len(there)
    with pytest.raises(ArchiveError):
        reading.check(path)
    assert not CANARY.exists()
