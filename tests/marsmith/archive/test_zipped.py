"""ZIP files that others have written, as they are."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsmith.archive import zipped
from marsmith.errors import ArchiveError

NAMES = st.text("abcde/ö模", min_size=1, max_size=9).filter(
    lambda name: all(part for part in name.split("/"))
)


def contents(data: bytes) -> dict[str, bytes]:
    """Read a ZIP file whole, and see that nothing of it is left out."""
    seen: list[bytes] = []
    stream = io.BytesIO(data)
    found = zipped.directory(stream)
    read = {entry.name: b"".join(parts) for entry, parts in zipped.walk(stream, found, seen.append)}
    assert b"".join(seen) == data
    assert read == {entry.name: zipped.read(stream, entry, 1 << 20) for entry in found.entries}
    return read


def by_python(files: dict[str, bytes], method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


@settings(deadline=None, max_examples=60)
@given(
    files=st.dictionaries(NAMES, st.binary(max_size=300), min_size=1, max_size=5),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_what_python_writes_is_read_as_it_is(files: dict[str, bytes], method: int) -> None:
    data = by_python(files, method)
    if any(f"{one}/" == other[: len(one) + 1] for one in files for other in files):
        with pytest.raises(ArchiveError, match="is a file and a folder"):
            contents(data)
        return
    assert contents(data) == files


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_python_writes_of_more_than_four_gigabytes_is_read(
    method: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a": bytes(5000), "b": b"x", "c": b"y" * 500}
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)  # as if these were so large
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    data = by_python(files, method)
    monkeypatch.undo()
    assert b"PK\6\6" in data
    assert contents(data) == files


def test_an_entry_is_read_up_to_a_bound() -> None:
    stream = io.BytesIO(by_python({"a": bytes(1000)}, zipfile.ZIP_DEFLATED))
    (entry,) = zipped.directory(stream).entries
    with pytest.raises(ArchiveError, match="has 1,000 bytes; at most 999"):
        zipped.read(stream, entry, 999)


def test_what_was_not_asked_for_is_checked_all_the_same() -> None:
    data = by_python({"a": b"hello", "b": b"x"}, zipfile.ZIP_STORED)
    stream = io.BytesIO(data.replace(b"hello", b"hellO"))
    with pytest.raises(ArchiveError, match="'a' is damaged"):
        for _ in zipped.walk(stream, zipped.directory(stream), lambda _: None):
            pass


def test_a_file_that_changes_while_it_is_read_is_refused() -> None:
    stream = io.BytesIO(by_python({"a": b"hello", "b": b"x"}, zipfile.ZIP_STORED))
    found = zipped.directory(stream)
    stream.seek(0)
    stream.write(by_python({"c": b"hello", "b": b"x"}, zipfile.ZIP_STORED))
    with pytest.raises(ArchiveError, match="another name in its own header"):
        list(zipped.walk(stream, found, lambda _: None))
