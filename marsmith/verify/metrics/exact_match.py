"""The share of answers with all the right words, as SQuAD counts it: of `question_answering`."""

from __future__ import annotations

from collections.abc import Sequence

from marsmith.verify.metrics.span_f1 import RankedAnswers, mean_of, words


def measure(answers: Sequence[RankedAnswers], expected: Sequence[str | Sequence[str]]) -> float:
    """The share of questions whose best answer has the same words as a right one, in [0, 1].

    Case, punctuation and English articles don't count, unless there is nothing else.

    Args:
        answers: as `span_f1` takes them.
        expected: as `span_f1` takes them.

    Raises:
        BuildError: the expected answers are neither strings nor lists of them.

    See: P. Rajpurkar et al., SQuAD, 2016, section 6.1, and its evaluation script.
    """
    return mean_of(_same, answers, expected)


def _same(answer: str, right: str) -> float:
    said, wanted = words(answer), words(right)
    # "()" has no words left, just as no answer has none.
    return float(said == wanted if said or wanted else answer.split() == right.split())
