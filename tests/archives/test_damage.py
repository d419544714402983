"""Archives that something happened to: refused as they load, by the name of what is wrong."""

from __future__ import annotations

import json
import random
import runpy
import sys
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from marsmith.archive.sums import SUMS
from marsmith.errors import ArchiveError
from marsmith.harness.worker import Harness
from tests.support.changed_archives import configured, contents, damaged, repack, summed


@pytest.fixture(scope="module")
def files(digits_archive: Path) -> dict[str, bytes]:
    return contents(digits_archive)


@pytest.fixture
def unpacked(digits_archive: Path, tmp_path: Path) -> Iterator[Path]:
    """The archive as a worker finds it, in a folder that may be changed."""
    with zipfile.ZipFile(digits_archive) as mar:
        mar.extractall(tmp_path)
    before = list(sys.path)
    yield tmp_path
    assert sys.path == before, "the archive got as far as importing what is in it"


def load_error(archive: Path) -> str:
    with pytest.raises(ArchiveError) as caught, Harness(archive):
        pass
    return str(caught.value).splitlines()[0]


def test_the_list_names_every_other_file(files: dict[str, bytes]) -> None:
    *lines, _ = files[SUMS].decode().splitlines()
    listed = [line.partition("  ")[2] for line in lines]
    assert sorted(listed) == sorted(set(files) - {SUMS})


def test_one_flipped_bit_in_any_file_is_found_before_anything_is_read(
    files: dict[str, bytes], unpacked: Path
) -> None:
    for name, data in files.items():
        (unpacked / name).write_bytes(damaged(data))
        with pytest.raises(Exception) as caught:
            runpy.run_path(str(unpacked / "archive_entry.py"))
        assert name in "".join(traceback.format_exception(caught.value))
        assert name == "archive_entry.py" or isinstance(caught.value, RuntimeError)
        (unpacked / name).write_bytes(data)


def test_any_flipped_bit_in_the_list_is_found(files: dict[str, bytes], unpacked: Path) -> None:
    random_ = random.Random(1)
    ends = [index for index, byte in enumerate(files[SUMS]) if byte in b"\n "]
    places = {*ends, *random_.sample(range(len(files[SUMS])), 40)}
    for place in places:
        data = bytearray(files[SUMS])
        data[place] ^= 1 << random_.randrange(8)
        (unpacked / SUMS).write_bytes(data)
        with pytest.raises(RuntimeError, match="the archive is damaged"):
            runpy.run_path(str(unpacked / "archive_entry.py"))


@pytest.mark.parametrize("name", ["model.pt", "handlers/protocols/payload.py", "model-config.yaml"])
def test_a_missing_file_is_named(unpacked: Path, name: str) -> None:
    (unpacked / name).unlink()
    with pytest.raises(RuntimeError, match=f"{name} is missing"):
        runpy.run_path(str(unpacked / "archive_entry.py"))


@pytest.mark.parametrize("name", ["model.pt", "handlers/base.py", SUMS])
def test_the_reader_says_which_file_changed(
    files: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    archive = repack({**files, name: damaged(files[name])}, tmp_path / "digits.mar")
    message = load_error(archive)
    assert "the archive is damaged" in message
    assert name in message


def test_an_unknown_setting_is_named_and_the_allowed_are(
    digits_archive: Path, tmp_path: Path
) -> None:
    def misspell(config: dict[str, dict[str, object]]) -> None:
        config["handler"]["grayscale"] = config["handler"].pop("greyscale")

    message = load_error(configured(digits_archive, tmp_path / "digits.mar", misspell))
    assert "'grayscale' is not allowed in the handler section" in message
    assert "did you mean 'greyscale'?" in message
    assert "interpolation" in message


@pytest.mark.parametrize("count", [9, 11])
def test_labels_of_the_wrong_number_are_refused(
    digits_archive: Path, tmp_path: Path, count: int
) -> None:
    archive = configured(
        digits_archive,
        tmp_path / "configured.mar",
        lambda config: config["handler"].update(labels="labels.json"),
    )
    labels = json.dumps([f"label {index}" for index in range(count)]).encode()
    archive = summed({**contents(archive), "labels.json": labels}, tmp_path / "digits.mar")
    assert f"{count} labels for 10 classes" in load_error(archive)
