"""Tokens to text: whatever the pieces, together they are the text."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.generation.detokenizer import UNFINISHED, Detokenizer
from tests.support.language_model import tokenizer


def written(ids: list[int], stops: tuple[str, ...] = (), prompt: str = "a") -> list[str]:
    """The pieces of a text."""
    writer, pieces = Detokenizer(tokenizer(), tokenizer().encode(prompt).ids, stops), []
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


@functools.cache
def llama_like() -> Any:
    """Pieces of one letter; what isn't among them, in tokens of a byte."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁abc"]
    numbers = {name: number for number, name in enumerate(names)}
    made = Tokenizer(models.BPE(numbers, [], byte_fallback=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    return made


SOME = st.text("ab c模型👩é", min_size=1, max_size=12)


@given(SOME, SOME)
@settings(max_examples=200)
def test_a_prompt_of_bytes_is_not_read_from_the_middle_of_a_character(
    prompt: str, text: str
) -> None:
    made = llama_like()
    before, all_of_it = made.encode(prompt).ids, made.encode(prompt + text).ids
    writer = Detokenizer(made, before, ())
    pieces = [writer.add(token) for token in all_of_it[len(before) :]]
    wanted = made.decode(all_of_it)[len(made.decode(before)) :]
    assert "".join([*pieces, writer.finish()]) == wanted


@functools.cache
def t5_like() -> Any:
    """Pieces of which some are a blank alone; the first piece's blank is none."""
    from tokenizers import Tokenizer, decoders, models

    names = ["<unk>", "<pad>", "▁", "a", "▁b", "c▁", "</s>"]
    numbers = {name: number for number, name in enumerate(names)}
    made = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))  # noqa: S106 - no password
    made.add_special_tokens(["<pad>", "</s>"])
    made.decoder = decoders.Metaspace("▁", "always")
    return made


@given(st.lists(st.integers(0, 6), max_size=20), st.lists(st.integers(0, 6), max_size=20))
@settings(max_examples=200)
def test_blanks_that_are_tokens_are_not_lost(prompt: list[int], ids: list[int]) -> None:
    made = t5_like()
    writer = Detokenizer(made, prompt, ())
    pieces = [writer.add(token) for token in ids]
    before, whole = (made.decode(each) for each in (prompt, prompt + ids))
    assert "".join([*pieces, writer.finish()]) == whole[len(before) :]
