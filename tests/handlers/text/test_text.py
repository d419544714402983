"""Text of an instance: what is taken, and what is told of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.errors import BadRequest
from handlers.text import text


def test_bytes_and_strings_are_the_same_text() -> None:
    assert text.read("größe ☃".encode()) == text.read("größe ☃") == "größe ☃"


@pytest.mark.parametrize(
    ("instance", "status", "words"),
    [
        (b"gr\xf6\xdfe", 400, "not UTF-8: byte 2"),
        ("a\ud800b", 422, "lone surrogate in it, at character 1"),
        ("a\ud800b".encode("utf-8", "surrogatepass"), 400, "not UTF-8"),
        (7, 400, "must be a string, not an integer"),
        (None, 400, "not null"),
        (["a"], 400, "not a list"),
        ({"text": "a"}, 400, "not an object"),
    ],
    ids=range(7),
)
def test_what_is_no_text_is_told_why(instance: Any, status: int, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        text.read(instance)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("instance", "wanted"),
    [
        ("a", ("a", None)),
        (b"a", ("a", None)),
        ({"text": "a"}, ("a", None)),
        ({"text": "a", "text_pair": None}, ("a", None)),
        ({"text_pair": b"b", "text": "a"}, ("a", "b")),
        (["a", ""], ("a", "")),
    ],
    ids=range(6),
)
def test_pairs_come_in_several_forms(instance: Any, wanted: tuple[str, str | None]) -> None:
    assert text.read_pair(instance) == wanted


@pytest.mark.parametrize(
    ("instance", "status", "words"),
    [
        ({"text_pair": "b"}, 400, "no 'text'"),
        ({"text": "a", "texts": "b"}, 422, "'texts' is not allowed in an instance; did you mean"),
        ({"text": "a", "\ud800": 1}, 422, "not allowed"),
        ({"text": 7}, 400, "not an integer"),
        ({"text": "a", "text_pair": ["b"]}, 400, "not a list"),
        (["a"], 422, "of two texts"),
        (["a", "b", "c"], 422, "of two texts"),
        ([], 422, "of two texts"),
        ([None, "b"], 400, "no 'text'"),
        (7, 400, "not an integer"),
    ],
    ids=range(10),
)
def test_what_is_no_pair_is_told_why(instance: Any, status: int, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        text.read_pair(instance)
    assert caught.value.status == status
    caught.value.message.encode("utf-8")


def test_both_texts_may_be_needed() -> None:
    parts = ("question", "context")
    assert text.read_pair({"question": "a", "context": "b"}, parts, both=True) == ("a", "b")
    for instance in ("a", {"question": "a"}):
        with pytest.raises(BadRequest, match="no 'context'") as caught:
            text.read_pair(instance, parts, both=True)
        assert '"context": "..."' in caught.value.hint


def test_texts_that_are_too_much_together_are_refused() -> None:
    nested: Any = "ab"
    for _ in range(5000):
        nested = [nested]
    text.check_together(["ab", "é".encode(), 7], max_characters=3)
    text.check_together([{"text": "a", "text_pair": b"b"}, ["c", None]], max_characters=3)
    with pytest.raises(BadRequest, match="5 characters together"):
        text.check_together([nested, {"a": ["b", "cd"]}], max_characters=3)
    with pytest.raises(BadRequest, match="4 characters together; at most 3") as caught:
        text.check_together(["ab", "cd"], max_characters=3)
    assert caught.value.status == 413
