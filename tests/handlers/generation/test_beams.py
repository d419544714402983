"""A search finds the likeliest text, which writing the likeliest token each time may miss."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from handlers.errors import ModelError
from handlers.generation.beams import BeamOptions, BeamSearch

END, TOKENS, LIMIT = 0, 4, 4


def following(text: list[int]) -> torch.Tensor:
    """The log-likelihoods of what follows a text, always the same for the same text."""
    seed = sum((token + 1) * 7**place for place, token in enumerate(text))
    made = torch.randn(TOKENS, generator=torch.Generator().manual_seed(seed)) * 2
    return torch.log_softmax(made, dim=0)


def searched(options: BeamOptions) -> BeamSearch:
    search = BeamSearch(options, LIMIT, {END})
    while not search.over:
        before = [list(text) for text in search.texts]
        parents = search.choose(torch.stack([following(text) for text in search.texts]))
        assert [text[:-1] for text in search.texts] == [before[place] for place in parents]
    return search


def likelihood(text: list[int]) -> float:
    return sum(float(following(text[:i])[token]) for i, token in enumerate(text))


def all_texts() -> list[list[int]]:
    lengths = range(1, LIMIT + 1)
    texts = [text for size in lengths for text in itertools.product(range(TOKENS), repeat=size)]
    whole = [text for text in texts if text[-1] == END or len(text) == LIMIT]
    return [list(text) for text in whole if END not in text[:-1]]


@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0])
def test_enough_beams_find_the_best_of_all_texts(penalty: float) -> None:
    search = searched(BeamOptions(num_beams=8, length_penalty=penalty))
    found, text = search.ended[0]
    assert math.isclose(found, likelihood(text) / len(text) ** penalty, abs_tol=1e-5)
    best = max(all_texts(), key=lambda each: likelihood(each) / len(each) ** penalty)
    assert text == best == search.best


def test_it_may_stop_as_soon_as_enough_have_ended() -> None:
    eager = searched(BeamOptions(num_beams=2, early_stopping=True))
    patient = searched(BeamOptions(num_beams=2))
    assert len(eager.ended) == 2
    assert len(eager.texts[0]) <= len(patient.texts[0])
    assert patient.ended[0][0] >= eager.ended[0][0]


def test_what_is_not_a_number_is_no_text() -> None:
    search = BeamSearch(BeamOptions(num_beams=2), LIMIT, {END})
    with pytest.raises(ModelError, match="not finite"):
        search.choose(torch.full((2, TOKENS), torch.nan))
