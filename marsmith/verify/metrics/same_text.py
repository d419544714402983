"""The share of texts that are written as they should be, letter by letter: of `text_to_text`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from marsmith.errors import BuildError


class WrittenText(TypedDict):
    """What is read of an answer."""

    text: str


def measure(answers: Sequence[WrittenText], expected: Sequence[str]) -> float:
    """The share of answers that are equal to the text expected, in [0, 1].

    Args:
        answers: with `text`.
        expected: the text that each should have.

    Raises:
        BuildError: the expected answers are not texts.
    """
    if not expected or not all(isinstance(each, str) for each in expected):
        raise BuildError("same_text compares texts: the expected answers must be strings")
    pairs = zip(answers, expected, strict=True)
    return sum(answer["text"] == right for answer, right in pairs) / len(expected)
