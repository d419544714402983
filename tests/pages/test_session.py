"""The picture of a session: what stands on a terminal, and what is drawn of it."""

from __future__ import annotations

import re

from pages import session


def test_what_was_erased_does_not_stand_there() -> None:
    spinner = "\x1b[?25l\u280b work\r\x1b[2K\u2819 work\r\x1b[2K"
    assert session.screen(f"{spinner}\x1b[32m\u2713\x1b[0m done\r\nnext\r\n") == (
        "\x1b[32m\u2713\x1b[0m done\nnext"
    )
    assert session.screen("one\r\ntwo\r\n\x1b[1A\x1b[2Kthree") == "one\nthree"


def test_the_picture_is_of_these_commands_and_asks_for_nothing() -> None:
    picture = session.PICTURE.read_text("utf-8")
    assert len(picture) < 100_000
    words = re.sub(r"<[^>]+>|&#160;", " ", picture)
    for command in session.COMMANDS:
        assert command in " ".join(words.split()), command
    assert re.findall(r"(?:url\(|href=|src=)[\"']?https?:", picture) == []
    drawn = session.draw([("marsmith --version", "marsmith 1")])
    assert "@font-face" not in drawn
