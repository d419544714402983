"""A configuration is read as Java reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from marsmith.doctor.properties import MOST_BYTES, Setting, parse, read
from marsmith.errors import ServerError


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("a=1", "a", "1"),
        ("  a = 1 ", "a", "1 "),
        ("a: b=c", "a", "b=c"),
        ("a\tb", "a", "b"),
        ("a", "a", ""),
        (r"a\ b\=c=d", "a b=c", "d"),
        (r"a=\u0041\tb\\", "a", "A\tb\\"),
        ("a=x,\\\n   y", "a", "x,y"),
        ("a=x\\", "a", "x"),
        ("a=#1", "a", "#1"),
        ("\u00e4=\u00f6", "\u00e4", "\u00f6"),
    ],
)
def test_a_line_is_what_java_makes_of_it(line: str, key: str, value: str) -> None:
    assert list(parse(line.encode("latin-1"))) == [Setting(key, value, 1)]


def test_comments_and_blank_lines_are_counted_alone() -> None:
    text = b"# a=1\n\n ! b=2\r\nc=3\\\n# no comment\rd=4\n"
    assert list(parse(text)) == [Setting("c", "3# no comment", 4), Setting("d", "4", 6)]


def test_what_can_be_no_configuration_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "config.properties"
    with pytest.raises(ServerError, match="No such file"):
        read(file)
    file.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(ServerError, match="more than 1,048,576 bytes"):
        read(file)
