"""Names of functions and what is said of them, told apart by file."""

from __future__ import annotations

import json

import pytest

from examples import docstrings


def test_a_name_of_several_words_and_the_first_sentence() -> None:
    source = b'''
def get_close_matches(word):
    """Return the matches. They are close.

    And more."""
def plain(): "Return a plain thing."
def none_said(): pass
class Reader:
    def _read_line(self): "Read one line"
def to_nothing_alike(): "Convert it."
'''
    found = [*docstrings.of_source(source)]
    assert found == [
        ("get close matches", "Return the matches"),
        ("read line", "Read one line"),
    ]
    assert list(docstrings.of_source(b"def x(:")) == []


@pytest.mark.slow  # it reads all of the sources
def test_each_request_has_the_right_sentence_where_it_says() -> None:
    described = dict(docstrings.functions(held_out=True))
    seen = {sentence for _, sentence in docstrings.functions(held_out=False)}
    asked = docstrings.held_out()
    assert len(asked) == docstrings.EVALUATION
    for body, _ in asked:
        said = json.loads(body)
        assert len(set(said["documents"])) == docstrings.CANDIDATES
        assert not seen & set(said["documents"])
        assert said["query"] in described
    names = [json.loads(body)["query"] for body, _ in asked]
    right = [json.loads(body)["documents"][place] for body, (place,) in asked]
    assert {*zip(names, right, strict=True)} <= {*docstrings.functions(held_out=True)}
