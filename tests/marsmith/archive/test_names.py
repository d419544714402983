"""Names that archives of ours have are taken; what hides a module is not."""

from __future__ import annotations

import pytest

from marsmith.archive import names
from marsmith.errors import ArchiveError


@pytest.mark.parametrize(
    "name",
    ["model.pt", "handlers/runtimes/_shared.py", "größe/模型.txt", "a b/c.d", "...", "a/", "xy:z"],
)
def test_a_plain_name_is_taken(name: str) -> None:
    names.check(name)


def test_names_of_one_folder_go_together() -> None:
    names.check_together(["a/", "a/b", "a/c/d", "a/c/e", "ab", "b/a"])


def test_a_package_of_ones_own_hides_nothing() -> None:
    names.check_hides_nothing(
        ["archive_entry.py", "handlers/__init__.py", "handlers/json.py", "mine/__init__.py",
         "mine/yaml.py", "json/data.txt", "yaml.txt", "labels.json"]
    )  # fmt: skip
    with pytest.raises(ArchiveError, match="in the place of 'json'"):
        names.check_hides_nothing(["json/__init__.py"])


def test_what_is_shown_of_a_name_is_short_and_printable() -> None:
    assert names.shown("a\u202eb\n") == "'a\\u202eb\\n'"
    assert len(names.shown("x" * 500)) < 100
