"""How much of the right words is in answers, as SQuAD measures it: of `question_answering`."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from marsmith.errors import BuildError

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


def measure(answers: Sequence[dict[str, Any]], expected: Sequence[str | Sequence[str]]) -> float:
    """Twice the words shared, by those answered and those expected; of all, the mean, in [0, 1].

    Case, punctuation and English articles don't count. Of several right answers the most alike
    counts; "" is the answer that there is none.

    Args:
        answers: with `answers`, best first, each with an `answer`; none is as "".
        expected: of each question its answer, or a list of all that are right.

    Raises:
        BuildError: the expected answers are neither.

    See: P. Rajpurkar et al., SQuAD, 2016, section 6.1, and its evaluation script.
    """
    return mean_of(_overlap, answers, expected)


def mean_of(
    alike: Callable[[str, str], float], answers: Sequence[dict[str, Any]], expected: Sequence[Any]
) -> float:
    """The mean of how alike each question's best answer is to the right one most like it.

    Raises:
        BuildError: the expected answers are no strings, nor lists of them.
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
    """What counts of an answer: lower case, without punctuation and articles."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()


def _overlap(answer: str, right: str) -> float:
    said, wanted = words(answer), words(right)
    if not said or not wanted:
        return float(said == wanted)
    shared = (Counter(said) & Counter(wanted)).total()
    return 2 * shared / (len(said) + len(wanted))
