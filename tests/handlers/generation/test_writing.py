"""Tokens to text: whatever the pieces, together they are the text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.generation.writing import UNFINISHED, Writer
from tests.handlers.generation.models import tokenizer


def written(ids: list[int], stops: tuple[str, ...] = (), prompt: str = "a") -> list[str]:
    """The pieces of a text."""
    writer, pieces = Writer(tokenizer(), tokenizer().encode(prompt).ids, stops), []
    for token in ids:
        pieces.append(writer.add(token))
        if writer.stopped:
            break
    return [*pieces, writer.finish()]


@given(st.text(max_size=40), st.text(max_size=6))
@settings(max_examples=60)
def test_pieces_are_the_text_and_no_character_is_in_halves(text: str, prompt: str) -> None:
    pieces = written(tokenizer().encode(text).ids, prompt=prompt)
    assert "".join(pieces) == text
    if UNFINISHED not in text:
        assert not any(UNFINISHED in piece for piece in pieces)


@given(st.lists(st.integers(1, 256), max_size=30))
@settings(max_examples=60)
def test_bytes_that_are_no_text_become_what_all_of_them_would(ids: list[int]) -> None:
    assert "".join(written(ids)) == tokenizer().decode(ids)


@pytest.mark.parametrize(
    ("text", "stops", "wanted"),
    [
        ("one two three", ("two",), "one "),
        ("one two three", ("ee", "wz"), "one two thr"),
        ("one two three", ("twos", "three!"), "one two three"),
        ("aaab", ("aab",), "a"),
        ("größe", ("ß",), "grö"),
        ("x", ("x",), ""),
        ("abcabd", ("abd", "bx"), "abc"),
    ],
)
def test_it_ends_before_the_first_stop_string(
    text: str, stops: tuple[str, ...], wanted: str
) -> None:
    pieces = written(tokenizer().encode(text).ids, stops)
    assert "".join(pieces) == wanted


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
@settings(max_examples=60)
def test_nothing_of_a_stop_string_is_said(text: str, stops: list[str]) -> None:
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    said = "".join(written(tokenizer().encode(text).ids, tuple(stops)))
    assert not any(stop in said for stop in stops)
    assert text.startswith(said)
    if not places:
        assert said == text
