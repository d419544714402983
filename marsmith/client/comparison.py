"""How answers differ from those that they are compared with."""

from __future__ import annotations

import math


def difference(answers: object, expected: object, *, relative: bool = False) -> float:
    """The largest difference of numbers in two JSON values; infinite where others differ.

    A NaN is infinitely far from a number, and none from another NaN.

    Args:
        answers: a JSON value.
        expected: what it is compared with.
        relative: whether a difference from a number beyond 1 is divided by it.
    """
    if (
        isinstance(answers, dict)
        and isinstance(expected, dict)
        and answers.keys() == expected.keys()
    ):
        pairs = [(answers[key], expected[key]) for key in answers]
    elif isinstance(answers, list) and isinstance(expected, list) and len(answers) == len(expected):
        pairs = list(zip(answers, expected, strict=True))
    elif isinstance(answers, (int, float)) and isinstance(expected, (int, float)):
        if answers == expected or (math.isnan(answers) and math.isnan(expected)):
            return 0.0
        gap = abs(answers - expected) / (max(1.0, abs(expected)) if relative else 1.0)
        return math.inf if math.isnan(gap) else gap
    else:
        return 0.0 if answers == expected else math.inf
    return max((difference(*pair, relative=relative) for pair in pairs), default=0.0)
