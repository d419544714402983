"""Sentences and names of functions, of which one is right."""

from __future__ import annotations

import json

import pytest

from examples import docstrings, entailment


@pytest.mark.slow  # it reads all of the sources
def test_each_request_has_the_right_name_among_its_labels() -> None:
    described = docstrings.functions(held_out=True)
    asked = entailment.held_out()
    assert len(asked) == entailment.EVALUATION
    for body, name in asked:
        said = json.loads(body)
        assert len({*said["candidate_labels"]}) == entailment.LABELS
        assert name in said["candidate_labels"]
        assert (name, said["text"]) in described
