"""How many of the right words answers have, as SQuAD measures it: of `question_answering`."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypedDict

from marsmith.errors import BuildError

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


class RankedAnswer(TypedDict):
    """One of the answers to a question."""

    answer: str


class RankedAnswers(TypedDict):
    """What is read of an answer: spans, the best first."""

    answers: Sequence[RankedAnswer]


def measure(answers: Sequence[RankedAnswers], expected: Sequence[str | Sequence[str]]) -> float:
    """The mean over questions of 2 × shared words ÷ (words answered + expected), in [0, 1].

    Case, punctuation and English articles don't count. Of several right answers the most similar
    one counts; "" says that there is no answer.

    Args:
        answers: with `answers`, best first, each with an `answer`; an empty list counts as "".
        expected: for each question its answer, or a list of all right ones.

    Raises:
        BuildError: the expected answers are neither.

    See: P. Rajpurkar et al., SQuAD, 2016, section 6.1, and its evaluation script.
    """
    return mean_of(_overlap, answers, expected)


def mean_of(
    alike: Callable[[str, str], float],
    answers: Sequence[RankedAnswers],
    expected: Sequence[str | Sequence[str]],
) -> float:
    """The mean similarity of each question's best answer to the right answer most like it.

    Raises:
        BuildError: the expected answers are neither strings nor lists of them.
    """
    total = 0.0
    for answer, right in zip(answers, expected, strict=True):
        rights = [right] if isinstance(right, str) else right
        if not isinstance(rights, (list, tuple)) or not all(isinstance(e, str) for e in rights):
            raise BuildError("the expected answers must be strings, or lists of them")
        if not rights:
            raise BuildError("a question has no expected answer", 'say "" where there is none')
        best = answer["answers"][0]["answer"] if answer["answers"] else ""
        total += max(alike(best, each) for each in rights)
    return total / len(expected)


def words(text: str) -> list[str]:
    """The words of an answer that count: lower case, without punctuation and articles."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()


def _overlap(answer: str, right: str) -> float:
    said, wanted = words(answer), words(right)
    if not said or not wanted:
        return float(said == wanted)
    shared = (Counter(said) & Counter(wanted)).total()
    return 2 * shared / (len(said) + len(wanted))
