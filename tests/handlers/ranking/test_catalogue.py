"""What an archive may hold of items and their popularity."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.errors import LoadError
from handlers.ranking import catalogue


def read(folder: Path, ids: str, popularity: str = "[]") -> catalogue.Catalogue:
    (folder / "ids.json").write_text(ids)
    (folder / "popular.json").write_text(popularity)
    return catalogue.read(folder / "ids.json", folder / "popular.json")


def test_what_is_popular_comes_first_and_then_the_rest_in_order(tmp_path: Path) -> None:
    found = read(tmp_path, '["a", 2, "c", "d"]', '[["d", 1], ["2", 2.5], ["c", 1]]')
    assert [found.ids[number] for number in found.ranking] == [2, "c", "d", "a"]
    assert found.counts == [0, 2.5, 1, 1]
    assert found.numbers(["d", 2, "2"]) == [3, 1, 1]


@pytest.mark.parametrize(
    ("ids", "popularity", "words"),
    [
        ("[]", "[]", "not empty"),
        ("{}", "[]", "must be a JSON list, not an object"),
        ("[", "[]", "can't be read"),
        ("[1.5]", "[]", "strings or 64-bit integers"),
        ("[true]", "[]", "strings or 64-bit integers"),
        (f"[{2**63}]", "[]", "strings or 64-bit integers"),
        ('["a", "a"]', "[]", "must be unique"),
        ('[1, "1"]', "[]", "must be unique"),
        ('["a"]', '{"a": 1}', "must be a JSON list, not an object"),
        ('["a"]', '["a"]', "pairs"),
        ('["a"]', '[["a", "1"]]', "pairs"),
        ('["a"]', '[["a", -1]]', "pairs"),
        ('["a"]', '[["a", NaN]]', "pairs"),
        ('["a"]', f'[["a", {10**400}]]', "pairs"),
        ('["a"]', '[["b", 1]]', "'b' in popular.json is not in ids.json"),
    ],
)
def test_a_catalogue_that_cannot_be_used_is_refused(
    tmp_path: Path, ids: str, popularity: str, words: str
) -> None:
    with pytest.raises(LoadError, match=words):
        read(tmp_path, ids, popularity)
