"""Questions about functions: where their answers are, and that the model finds them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from examples import signatures
from examples.signatures import Reader, of_source
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.verify.metrics import exact_match
from tests.support.paths import ROOT

SOURCE = '''
class Größe:
    async def wait(self, größe: "dict[str, int]" = {"ä": 1}, *, timeout=None) -> (
        bool
    ):
        """Wait,
        and return."""
        return True
'''


def test_answers_are_where_the_parser_finds_them() -> None:
    found = {each for seed in range(60) for each in of_source(SOURCE.encode(), random.Random(seed))}
    assert {each.answer for each in found} == {'"dict[str, int]"', '{"ä": 1}', "None", "bool", ""}
    for each in found:
        assert each.context.startswith("    async def wait(self, größe")
        assert each.context.endswith('and return."""')
        assert each.context[each.start : each.end] == each.answer
        if "timeout" in each.question:
            assert each.answer == ("None" if "default" in each.question else "")
        if "wait" in each.question:
            assert each.answer == "bool"


@pytest.mark.parametrize("source", [b"def", b"\0", b"\xff", b"x = 1"])
def test_a_file_that_cannot_be_read_has_no_questions(source: bytes) -> None:
    assert list(of_source(source, random.Random(0))) == []


def test_padding_is_as_nothing() -> None:
    torch.manual_seed(0)
    module = Reader(vocabulary=20, width=8).eval()
    ids = torch.randint(4, 20, (1, 12))
    types = (torch.arange(12) > 4).long()[None]
    with torch.inference_mode():
        alone = module(ids, torch.ones_like(ids), types)
        padded, long = ids.new_zeros(2, 30), ids.new_zeros(2, 30)
        padded[0, :12], long[0, :12] = ids, types
        padded[1], long[1, 3:] = 7, 1
        mask = (torch.arange(30) < torch.tensor([[12], [30]])).long()
        together = module(padded, mask, long)
    torch.testing.assert_close(together[0, :12], alone[0], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_recipe_that_ships(store: Path) -> None:
    recipe = reading.load(ROOT / "archiver_configs" / "signatures.yaml")
    build(recipe, store)
    seen = {each.context for each in signatures.questions(held_out=False)}
    held_out = signatures.held_out()
    assert not any(json.loads(body)["context"] in seen for body, _ in held_out)
    with Harness(store / "signatures.mar", batch_size=16) as harness:
        answers = [
            response.json()
            for start in range(0, len(held_out), 16)
            for response in harness.predict(
                [Request.raw(body) for body, _ in held_out[start : start + 16]]
            )
        ]
    assert exact_match.measure(answers, [answer for _, answer in held_out]) >= 0.93
