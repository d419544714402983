from __future__ import annotations

import json

import pytest

from handlers import by_name
from marsmith.cli.listing import FOLDERS, about, known, plural, type_of
from marsmith.errors import MarsmithError
from tests.support.command import marsmith

EVERYTHING = [(kind, name) for kind in FOLDERS for name in known(kind)]


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_list_has_what_the_code_finds(kind: str) -> None:
    assert list(known(kind)) == by_name.known(FOLDERS[kind].replace("/", "."))
    assert all(known(kind).values())


@pytest.mark.parametrize(("kind", "name"), EVERYTHING)
def test_every_setting_has_a_type_and_says_what_it_is(kind: str, name: str) -> None:
    found = about(kind, name)
    assert found["doc"]
    for part in ("settings", "options"):
        for setting, of in found.get(part, {}).get("properties", {}).items():
            if kind != "runtime":  # what a worker is told, by who wrote the archive
                assert of.get("description"), (part, setting)
            assert type_of(of), (part, setting)
    json.dumps(found, default=str)


def test_one_task_is_shown_with_defaults_and_bounds() -> None:
    said = marsmith("tasks", "image_classification").stdout
    for word in ("settings", "options", "answer", "top_k", "greyscale", "integer ≥ 1"):
        assert word in said
    found = json.loads(marsmith("tasks", "image_classification", "--json").stdout)
    assert found["settings"]["properties"]["greyscale"]["type"] == "boolean"
    assert "runtime" not in found["settings"]["properties"]  # the recipe's


def test_lists_are_json_too() -> None:
    assert json.loads(marsmith("passes", "--json").stdout) == known("pass")
    assert plural("pass") == "passes"


def test_what_is_not_there_is_said_with_the_nearest() -> None:
    with pytest.raises(MarsmithError, match="no metric 'acuracy'; did you mean 'accuracy'"):
        about("metric", "acuracy")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1}, "integer ≥ 1"),
        ({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]},
         "number > 0 or null"),
        ({"enum": ["a", "b"]}, "a | b"),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 3}, "list of string up to 3"),
        ({}, "anything"),
    ],
)  # fmt: skip
def test_types_are_told_in_words(schema: dict[str, object], words: str) -> None:
    assert type_of(schema) == words
