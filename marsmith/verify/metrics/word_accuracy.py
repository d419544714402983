"""How many words are recognised, 1 - the word error rate: of `speech_recognition`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from marsmith.errors import BuildError
from marsmith.extras import need


class SpokenText(TypedDict):
    """What is read of an answer."""

    text: str


def measure(answers: Sequence[SpokenText], expected: Sequence[str]) -> float:
    """1 - (words that are wrong, missing or too many) ÷ (words expected), over all recordings.

    A word error rate of 0.08 is an accuracy of 0.92. Blanks separate words; a word is right when
    it is written the same.

    Args:
        answers: with `text`.
        expected: the transcript of each recording.

    Returns:
        At most 1; below 0 where there are more errors than words.

    Raises:
        BuildError: the expected answers are not texts, or have no words.
        UnsupportedError: jiwer is not installed.
    """
    need("speech", "jiwer")
    import jiwer

    if not all(isinstance(each, str) for each in expected) or not any(map(str.split, expected)):
        raise BuildError("word_accuracy compares texts: the expected answers must be strings")
    counted = jiwer.process_words(list(expected), [answer["text"] for answer in answers])
    said = counted.hits + counted.substitutions + counted.deletions
    wrong = counted.substitutions + counted.deletions + counted.insertions
    return float(1 - wrong / said)
