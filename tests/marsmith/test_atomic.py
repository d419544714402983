from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from marsmith.atomic import ensure_room, replacing

STOPPED_MIDWAY = """
import sys, time
from pathlib import Path
from marsmith.atomic import replacing

with replacing(Path(sys.argv[1])) as unfinished:
    unfinished.write_text("half of wh")
    print("written", flush=True)
    time.sleep(600)
"""


def test_a_file_takes_the_place_of_another_when_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    for text in ("one", "two"):
        with replacing(path) as unfinished:
            unfinished.write_text(text)
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_takes_the_place_of_another_when_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("one", "two"):
        with replacing(path) as unfinished:
            unfinished.mkdir()
            (unfinished / name).touch()
        assert [file.name for file in path.iterdir()] == [name]
    assert list(tmp_path.iterdir()) == [path]


def test_what_breaks_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), replacing(path) as unfinished:
        unfinished.write_text(str(1 / 0))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_two_may_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as one, replacing(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # it ended last


def test_a_killed_process_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    command = [sys.executable, "-c", STOPPED_MIDWAY, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    assert not [each for each in tmp_path.iterdir() if not each.name.startswith(".")]


def test_a_disk_without_room_is_one_before_anything_is_written(tmp_path: Path) -> None:
    ensure_room(tmp_path, 1)
    with pytest.raises(OSError, match="No space left") as caught:
        ensure_room(tmp_path, 1 << 60)
    assert caught.value.filename == str(tmp_path)
