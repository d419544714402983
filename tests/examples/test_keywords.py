"""Lines of Python with one keyword masked."""

from __future__ import annotations

import keyword
import random

import pytest

from examples import keywords

SOURCE = """
    for name in names:
# for name in names:
x = "for name in names:"
if not (a and b):
pass
"""


def test_a_keyword_of_a_line_of_code_is_masked() -> None:
    found = {each for seed in range(40) for each in keywords.of_source(SOURCE, random.Random(seed))}
    whole = {line.replace("[MASK]", right) for line, right in found}
    assert whole == {"for name in names:", "if not (a and b):"}
    assert {right for _, right in found} == {"for", "in", "if", "not", "and"}


@pytest.mark.slow  # it reads all of the sources
def test_each_keyword_is_one_token_and_lines_are_told_apart_by_file() -> None:
    tokenizer = keywords._tokenizer()
    mask = tokenizer.token_to_id("[MASK]")
    assert all(tokenizer.token_to_id(word) is not None for word in keyword.kwlist)
    seen = {line for line, _ in keywords.lines(held_out=False)}
    held_out = keywords.held_out()
    assert len(held_out) == keywords.EVALUATION
    for body, right in held_out:
        assert right in keyword.kwlist
        assert body.decode() not in seen
        assert tokenizer.encode(body.decode()).ids[: keywords.MAX_TOKENS].count(mask) == 1
