"""The strict reader: hostile archives are refused for what they are, and none of them runs."""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsmith.archive import reading
from marsmith.archive.reading import Named
from marsmith.errors import ArchiveError
from marsmith.harness.worker import Harness
from tests.support.hostile_archives import by_hand, good, good_ones, hostile, summed
from tests.support.paths import ROOT
from tests.support.zip_writer import written

CANARY = Path("/tmp/marsmith-canary-of-hostile-archives")
CASES = list(hostile(CANARY))
GOOD = good_ones(CANARY)
OURS = written(summed(good(CANARY)))
FOREIGN = written(by_hand(good(CANARY)))
# In a process of its own, which may not have more than this.
BOUNDED = """
import resource, sys
from pathlib import Path
from marsmith.archive import reading
from marsmith.errors import ArchiveError
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        reading.inspect(path)
    except ArchiveError:
        print(path.name)
"""


@pytest.fixture(scope="module", autouse=True)
def _canary() -> None:
    CANARY.unlink(missing_ok=True)


def file_of(data: bytes, folder: Path) -> Path:
    path = folder / "small.mar"
    path.write_bytes(data)
    return path


def test_there_are_many_and_each_is_another() -> None:
    assert len(CASES) >= 100
    assert len({name for name, _, _ in CASES}) == len(CASES)
    assert len({data for _, data, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("data", "said"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_hostile_archive_is_refused_for_what_it_is(
    data: bytes, said: str, tmp_path: Path
) -> None:
    path = file_of(data, tmp_path)
    with pytest.raises(ArchiveError, match=said) as told:
        reading.check(path, tmp_path / "a" / "b" / "out")
    assert {each.name for each in tmp_path.iterdir()} <= {"a", "small.mar"}
    assert {each.name for each in tmp_path.glob("a/*")} <= {"b"}
    assert {each.name for each in tmp_path.glob("a/b/*")} <= {"out"}
    assert told.value.message.startswith(f"{path} is not a sound model archive: ")
    assert told.value.message.isprintable()
    with pytest.raises(ArchiveError):
        Harness(path).__enter__()
    assert not CANARY.exists()


def test_refusing_takes_no_memory_to_speak_of(tmp_path: Path) -> None:
    for number, (_, data, _) in enumerate(CASES):
        (tmp_path / f"{number:03}").write_bytes(data)
    command = [sys.executable, "-c", BOUNDED, str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.split() == [f"{number:03}" for number in range(len(CASES))]


@pytest.mark.parametrize("name", GOOD)
def test_a_sound_archive_is_read_and_unpacked(name: str, tmp_path: Path) -> None:
    path = file_of(GOOD[name], tmp_path)
    found = reading.inspect(path)
    assert found["sha256"] == hashlib.sha256(GOOD[name]).hexdigest()
    assert found["bytes"] == len(GOOD[name])
    assert found["manifest"]["model"]["modelName"] == "small"
    assert found["listed"] == name.startswith("ours")
    reading.check(path, tmp_path / "out")
    for file, said in found["files"].items():
        data = (tmp_path / "out" / file).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (said["bytes"], said["sha256"])
    assert reading.glance(path).model == found["manifest"]["model"]
    assert not CANARY.exists()


@settings(max_examples=150, deadline=None)
@given(
    data=st.sampled_from([OURS, FOREIGN]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
    cut=st.one_of(st.none(), st.tuples(st.floats(0, 1), st.floats(0, 1))),
)
def test_what_is_flipped_or_cut_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes,
    changes: list[tuple[float, int]],
    cut: tuple[float, float] | None,
) -> None:
    changed = bytearray(data)
    for place, bits in changes:
        changed[int(place * len(changed))] ^= bits
    if cut is not None:
        begin, end = sorted(int(place * len(changed)) for place in cut)
        del changed[begin:end]
    path = file_of(bytes(changed), tmp_path_factory.mktemp("changed"))
    try:
        found = reading.check(path)
    except ArchiveError:
        return
    for name, (_, digest) in found.files.items():
        expected = (found.said.sums or {}).get(name, digest)
        assert digest == expected, "what it lists is what is there"


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_that_is_taken_changes_nothing_that_is_read(
    bit: int, tmp_path: Path
) -> None:
    good_files = reading.check(file_of(OURS, tmp_path)).files
    places = random.Random(bit).sample(range(len(OURS)), 60)
    for place in places:
        changed = bytearray(OURS)
        changed[place] ^= 1 << bit
        try:
            found = reading.check(file_of(bytes(changed), tmp_path))
        except ArchiveError:
            continue
        assert found.files == good_files  # a time, a version: what no reader goes by


def test_a_digest_names_these_bytes_alone(tmp_path: Path) -> None:
    path = file_of(OURS, tmp_path)
    digest = hashlib.sha256(OURS).hexdigest()
    assert Named.of(f"{path}@sha256:{digest}") == Named(path, digest)
    assert str(Named(path, digest)) == f"{path}@sha256:{digest}"
    assert Named.of(path) == Named.of(str(path)) == Named(path)
    assert reading.inspect(f"{path}@sha256:{digest}")["sha256"] == digest
    with pytest.raises(ArchiveError, match=f"its SHA-256 is {digest}, not 0000"):
        reading.inspect(f"{path}@sha256:{'0' * 64}")
    for wrong in ("", "abc", digest.upper(), f"{digest}0"):
        with pytest.raises(ArchiveError, match="64 digits"):
            Named.of(f"{path}@sha256:{wrong}")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mar")
    with pytest.raises(ArchiveError, match=r"pipe\.mar can't be read as an archive: it is no file"):
        reading.inspect(tmp_path / "pipe.mar")


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="there is no archive"):
        reading.inspect(tmp_path / "none.mar")
    with pytest.raises(ArchiveError, match=re.escape("can't be read as an archive")):
        reading.inspect(tmp_path)
