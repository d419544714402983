"""The list of known holes, and what becomes of each with what is installed."""

from __future__ import annotations

import importlib.metadata
import re

from packaging.specifiers import SpecifierSet

from marsmith.doctor import holes, jar

HERE = jar.versions(jar.find_jar(), importlib.metadata.version("torchserve"))
NETTY_FORMS = "CVE-2024-29025"


def test_the_list_is_sound() -> None:
    ids = [each for hole in holes.known() for each in hole.ids]
    assert all(
        re.fullmatch(r"CVE-\d{4}-\d{4,}|GHSA(-[23456789cfghjmpqrvwx]{4}){3}", i) for i in ids
    )
    for hole in holes.known():
        assert SpecifierSet(hole.affected)
        assert hole.package in HERE
        assert all(source.startswith("https://") for source in hole.sources)
        assert bool(hole.by) == bool(hole.how), hole.what
        assert bool(hole.remains) == bool(hole.todo), hole.what
        assert hole.by or hole.remains, hole.what


def test_what_remains_says_what_to_do() -> None:
    found = list(holes.check(HERE))
    assert len(found) == len(holes.known())
    assert {each.level for each in found} == {"good", "note"}
    for each in found:
        assert (each.level == "note") == bool(each.hint)
        assert each.sources


def test_an_old_torchserve_has_what_was_mended_since() -> None:
    def of(versions: dict[str, str], name: str) -> str:
        return next(each.what for each in holes.check(versions) if name in each.ids)

    assert of(HERE, "CVE-2023-43654").endswith("torchserve 0.12.0: not affected")
    assert "closed by the configuration" in of({"torchserve": "0.8.1"}, "CVE-2023-43654")
    assert "closed by the front" in of({"netty": "4.1.107"}, NETTY_FORMS)
    assert "not affected" in of({"netty": "4.1.108"}, NETTY_FORMS)
    assert "netty of an unknown version: closed" in of({}, NETTY_FORMS)


def test_without_the_front_what_it_closes_is_open() -> None:
    bare = holes.open_without_front(HERE)
    assert NETTY_FORMS in {each for hole in bare for each in hole.ids}
    assert {hole.by for hole in bare} == {"front"}
    assert holes.open_without_front(dict.fromkeys(HERE, "99")) == []
