"""A GPT of the standard library's source: what it is trained on, and how well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from examples import stdlib_gpt
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.candidates import only
from marsmith.recipe import reading
from tests.support.paths import ROOT


def test_what_is_held_out_is_never_trained_on() -> None:
    known = set(stdlib_gpt.training())
    assert len(known) > 300
    assert not known & set(stdlib_gpt.files()[:: stdlib_gpt.HELD_OUT])
    for body, text in stdlib_gpt.held_out():
        assert json.loads(body)["data"] == text
        assert not any(text in each for each in known)


def test_pieces_of_a_text_are_known_as_the_whole_is() -> None:
    module = stdlib_gpt.Gpt(50, width=16, layers=2, heads=2).eval()
    torch.manual_seed(0)
    ids, none = torch.randint(50, (2, 9)), torch.zeros(2, dtype=torch.int64)
    past = [torch.zeros(2, 2, 6, 8) for _ in range(4)]
    with torch.inference_mode():
        whole, *_ = module(ids, none)
        first, *made = module(ids[:, :4], none, *past)
        for cached, new in zip(past, made, strict=True):
            cached[:, :, :4] = new
        rest, *_ = module(ids[:, 4:], none + 4, *past)
    assert torch.allclose(torch.cat([first, rest], dim=1), whole, atol=1e-5)


@pytest.mark.slow
def test_it_knows_python(store: Path) -> None:
    recipe = reading.load(ROOT / "archiver_configs" / "stdlib_gpt.yaml")
    report = build(only(recipe, ["torchscript:fp32"]), store)
    assert report
    least = recipe.accept.metric_at_least or 0
    assert all(each is not None and each >= least for each in report.measured.values())
    with Harness(store / "stdlib_gpt.mar") as harness:
        asked = {"data": "import os\nimport ", "parameters": {"max_new_tokens": 8}}
        (response,) = harness.predict([Request.json(asked)])
    assert response.json()["tokens"] == 8
