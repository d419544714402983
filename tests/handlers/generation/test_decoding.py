"""Rows that come and go write what each would alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.errors import ModelError
from handlers.generation import sampling
from handlers.generation.cache import BLOCK
from handlers.generation.decoding import CHUNK, TokenSequence
from handlers.runtimes import Tensors
from tests.support.language_model import decoder, finished, row, runtime

PROMPTS = ["a", "import json", "größe 模型 👩‍🔬", "x" * (CHUNK + 5), "y" * (2 * CHUNK)]
CHOICES = [
    sampling.SamplingOptions(),
    sampling.SamplingOptions(temperature=1.0, seed=7),
    sampling.SamplingOptions(temperature=0.7, top_k=5, seed=2**62),
    sampling.SamplingOptions(temperature=1.5, top_p=0.8, repetition_penalty=1.3, seed=0),
    sampling.SamplingOptions(repetition_penalty=1.2),
]
WISHES = [
    (prompt, limit, options, stops)
    for prompt in PROMPTS
    for limit, options, stops in (
        (9, CHOICES[0], ()),
        (0, CHOICES[0], ()),
        (20, CHOICES[1], ("e", "qq")),
        (14, CHOICES[2], ()),
        (3, CHOICES[3], ("a",)),
        (70, CHOICES[4], ()),
    )
]


def made(wish: int) -> TokenSequence:
    return row(*WISHES[wish], score=wish % 2 == 0)


def outcome(each: TokenSequence) -> tuple[Any, ...]:
    return each.made, each.text, each.reason, each.error


@pytest.fixture(scope="module")
def alone() -> list[TokenSequence]:
    return [finished(made(wish))[0] for wish in range(len(WISHES))]


def test_in_any_company_each_writes_what_it_would_alone(alone: list[TokenSequence]) -> None:
    @given(st.data())
    @settings(max_examples=10)
    def check(data: st.DataObject) -> None:
        writes = decoder(data.draw(st.integers(1, 5), "slots"))
        coming = data.draw(st.lists(st.integers(0, len(WISHES) - 1), max_size=6), "rows")
        rows: list[tuple[int, TokenSequence]] = []
        gone: list[TokenSequence] = []
        while coming or writes.busy:
            while coming and bool(data.draw(st.booleans(), "one joins")):
                wish = coming.pop()
                rows.append((wish, made(wish)))
                writes.add(rows[-1][1])
            writes.step()
            going = [each for _, each in rows if not each.done and each not in gone]
            if going and data.draw(st.integers(0, 9), "one leaves") == 0:
                gone.append(going[data.draw(st.integers(0, len(going) - 1))])
                writes.abort(gone[-1])
        for wish, each in rows:
            if each in gone:
                assert not each.done
                assert alone[wish].text.startswith(each.text)
            else:
                assert outcome(each) == outcome(alone[wish])
                near = pytest.approx(alone[wish].log_likelihood, rel=1e-5)
                assert each.log_likelihood == near

    check()


def test_it_writes_what_the_model_says_without_a_cache() -> None:
    (written,) = finished(row("import json", 80))
    ids, nothing = list(row("import json").prompt), torch.zeros(1, dtype=torch.int64)
    past = torch.zeros(1, 2, 1, 8)
    for token in written.made:
        outputs = runtime()(
            {"ids": torch.tensor([ids]), "past": nothing, **dict.fromkeys("abcd", past)}
        )
        assert int(outputs["output_0"][0, -1].argmax()) == token
        ids.append(token)


def test_the_score_is_that_of_one_pass() -> None:
    (scored,) = finished(row("x" * 100, 0, score=True))
    past = dict.fromkeys("abcd", torch.zeros(1, 2, 1, 8))
    ids = torch.tensor([scored.prompt])
    logits = runtime()({"ids": ids, "past": torch.tensor([0]), **past})["output_0"][0].double()
    wanted = torch.log_softmax(logits[:-1], 1)[torch.arange(99), ids[0, 1:]].sum()
    assert scored.log_likelihood == pytest.approx(float(wanted), rel=1e-6)
    assert (scored.text, scored.made, scored.reason) == ("", [], "length")


def test_a_model_that_keeps_few_logits_is_asked_for_no_others(alone: list[TokenSequence]) -> None:
    asked: list[tuple[int, int]] = []

    def keeps(inputs: Tensors) -> Tensors:
        places = inputs["logits_to_keep"]
        asked.append((places.shape[1], inputs["input_ids"].shape[1]))
        others = {name: each for name, each in inputs.items() if name != "logits_to_keep"}
        (name, logits), *new = runtime()(others).items()
        kept = torch.stack([row[its] for row, its in zip(logits, places, strict=True)])
        return {name: kept, **dict(new)}

    def written(wishes: range) -> list[TokenSequence]:
        rows, writes = [made(wish) for wish in wishes], decoder(run=keeps, keeps=True)
        for each in rows:
            writes.add(each)
        while writes.busy:
            writes.step()
        return rows

    found = written(range(1, len(WISHES), 2))
    assert {kept for kept, _ in asked} == {1}
    found += written(range(0, len(WISHES), 2))  # which are scored, too
    assert all(kept in (1, seen) for kept, seen in asked)
    wanted = [*alone[1::2], *alone[::2]]
    assert list(map(outcome, found)) == list(map(outcome, wanted))
    for row_, its in zip(found, wanted, strict=True):
        assert row_.log_likelihood == pytest.approx(its.log_likelihood, rel=1e-5)


def test_a_row_that_the_model_fails_on_fails_alone() -> None:
    def run(inputs: Tensors) -> Tensors:
        begins = inputs["past_tokens"][:, None] == 0
        if (begins & (inputs["input_ids"] == row("!").prompt[0])).any():
            raise RuntimeError("no such token")
        return runtime()(inputs)

    writes, rows = decoder(4, run), [row("a"), row("!"), row("b"), row("c!c")]
    for each in rows:
        writes.add(each)
    while writes.busy:
        writes.step()
    assert [each.error is not None for each in rows] == [False, True, False, True]
    assert outcome(rows[0]) == outcome(finished(row("a"))[0])


def test_a_model_of_another_form_is_told() -> None:
    def run(inputs: Tensors) -> Tensors:
        return dict(list(runtime()(inputs).items())[:3])

    writes, one = decoder(4, run), row("a")
    writes.add(one)
    writes.step()
    assert isinstance(one.error, ModelError)
    assert "a language model answers logits (1, 1, V) and 4 tensors" in one.error.message


def test_a_score_that_is_no_number_is_told() -> None:
    def run(inputs: Tensors) -> Tensors:
        outputs = runtime()(inputs)
        return {**outputs, "output_0": torch.full_like(outputs["output_0"], float("nan"))}

    writes, one = decoder(4, run), row("abc", 0, score=True)
    writes.add(one)
    writes.step()
    assert one.error
    assert "not finite" in one.error.message


def test_time_ends_a_row() -> None:
    writes, one = decoder(), row("a", 200)
    one.seconds = 0.0
    writes.add(one)
    while writes.busy:
        writes.step()
    assert one.reason == "time"
    assert len(one.made) < 5


def test_what_is_cached_is_given_back() -> None:
    writes = decoder(2)
    long, short = row("x" * (2 * BLOCK + 3), 2), row("a", 12)
    for each in (long, short):
        writes.add(each)
    while not long.done:
        writes.step()
    assert writes._cache.room == 3 * BLOCK
    writes.step()
    assert writes._cache.room == BLOCK
    while writes.busy:
        writes.step()
    assert writes._cache.room == 0


def test_requests_take_turns(alone: list[TokenSequence]) -> None:
    writes, large, small = decoder(2), [made(0) for _ in range(6)], made(0)
    for each in large:
        writes.add(each, "large")
    writes.step()
    writes.add(small, "small")
    while not small.done:
        writes.step()
    assert sum(each.done for each in large) <= 3
    assert outcome(small) == outcome(alone[0])


@pytest.mark.parametrize("limit", [0, 10])
def test_what_is_not_finite_spoils_no_later_row(limit: int) -> None:
    def run(inputs: Tensors) -> Tensors:
        outputs = runtime()(inputs)
        bad = inputs["input_ids"] == row("!").prompt[0]
        places = bad[:, None, :, None]
        return {
            name: each.masked_fill(places, float("inf")) if each.ndim == 4 else each
            for name, each in outputs.items()
        }

    writes, stays = decoder(4, run), row("stay", 22)
    writes.add(stays)
    for prompt in ("a long and bad text!!!!", "good"):
        for each in (joined := [row(prompt, limit), row(prompt, 9)]):
            writes.add(each)
        while not all(each.done for each in joined):
            writes.step()
    assert outcome(joined[1]) == outcome(finished(row("good", 9))[0])
    while writes.busy:
        writes.step()
    assert outcome(stays) == outcome(finished(row("stay", 22))[0])


def test_no_time_to_read_a_prompt_is_an_error() -> None:
    writes, one = decoder(), row("x" * 200, 0, score=True)
    one.seconds = 0.0
    writes.add(one)
    while writes.busy:
        writes.step()
    assert (one.reason, one.error and one.error.status) == (None, 503)
