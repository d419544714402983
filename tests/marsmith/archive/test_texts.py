"""The JSON and YAML of archives: what is taken is what every parser reads."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from marsmith.archive.texts import DEEPEST, read_json, read_yaml
from marsmith.errors import ArchiveError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text('aé"\\\n[{:'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab:é"), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=40)
@given(PLAIN)
def test_what_is_written_is_read(value: object) -> None:
    for indent in (None, 2):
        assert read_json(json.dumps(value, indent=indent).encode(), "it") == value
    for flow in (False, True):
        text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
        assert read_yaml(text.encode(), "it") == yaml.safe_load(text)


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text('[]{}"\\:,-&*!? \nab1', max_size=60).map(str.encode))
def test_anything_is_read_or_refused_by_name(data: bytes) -> None:
    for read in (read_json, read_yaml):
        try:
            read(data, "the text")
        except ArchiveError as error:
            assert error.message.startswith("the text ")  # noqa: PT017 - or it is read


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_nesting_has_a_bound(bracket: str) -> None:
    def nested(depth: int) -> bytes:
        end = "]" if bracket == "[" else "}"
        return (bracket * depth + "1" + end * depth).encode()

    for read in (read_json, read_yaml):
        read(nested(DEEPEST), "it")
        with pytest.raises(ArchiveError, match="nested deeper"):
            read(nested(DEEPEST + 1), "it")


def test_brackets_in_strings_do_not_count() -> None:
    text = json.dumps({"a": "[" * 100, 'b"{': '\\"' + "{" * 100})
    assert read_json(text.encode(), "it") == json.loads(text)
