"""What may come next: each rule alone, against transformers' own processors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from handlers.generation.rules import RuleOptions, Rules, apply

LIMIT, SIZE = 6, 8
SCORES = torch.randn(SIZE, generator=torch.Generator().manual_seed(0))


def processor(name: str, *args: Any) -> Any:
    return getattr(pytest.importorskip("transformers"), name)(*args)


@pytest.mark.parametrize(
    ("rules", "options", "wanted"),
    [
        (Rules(first=3), RuleOptions(), ("ForcedBOSTokenLogitsProcessor", 3)),
        (Rules(last=(4,)), RuleOptions(), ("ForcedEOSTokenLogitsProcessor", LIMIT + 1, 4)),
        (Rules(suppressed=(1, 5)), RuleOptions(), ("SuppressTokensLogitsProcessor", [1, 5])),
        (
            Rules(suppressed_first=(2,)),
            RuleOptions(),
            ("SuppressTokensAtBeginLogitsProcessor", [2], 1),
        ),
        (
            Rules(ends=(1, 2)),
            RuleOptions(min_new_tokens=3),
            ("MinNewTokensLengthLogitsProcessor", 1, 3, [1, 2]),
        ),
        (
            Rules(),
            RuleOptions(no_repeat_ngram_size=1),
            ("NoRepeatNGramLogitsProcessor", 1),
        ),
        (
            Rules(),
            RuleOptions(no_repeat_ngram_size=3),
            ("NoRepeatNGramLogitsProcessor", 3),
        ),
    ],
)
def test_a_rule_means_what_it_means_to_transformers(
    rules: Rules, options: RuleOptions, wanted: tuple[Any, ...]
) -> None:
    theirs = processor(*wanted)
    for made in ([], [5], [6, 7], [6, 7, 6], [0, 6, 7, 6], [6, 7, 6, 6, 7], [2, 6, 0, 6, 7]):
        found = apply(SCORES, [0], made, LIMIT, rules, options)
        right = theirs(torch.tensor([[0, *made]]), SCORES[None].clone())[0]
        torch.testing.assert_close(found, right, atol=0, rtol=0)


def test_behind_a_forced_token_a_text_begins() -> None:
    rules = Rules(first=3, suppressed_first=(2,))
    assert apply(SCORES, [0], [], LIMIT, rules, RuleOptions()).isfinite().nonzero().tolist() == [
        [3]
    ]
    assert apply(SCORES, [0], [3], LIMIT, rules, RuleOptions())[2] == -torch.inf


def test_scores_are_not_changed() -> None:
    before = SCORES.clone()
    apply(SCORES, [0], [], LIMIT, Rules(suppressed=(1,)), RuleOptions())
    assert torch.equal(SCORES, before)
