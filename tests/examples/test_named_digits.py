"""Digits and the words for them: what is trained, and that the archive compares them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from examples import named_digits
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.verify.metrics.accuracy import measure
from tests.support.paths import ROOT

RECIPE = ROOT / "archiver_configs" / "named_digits.yaml"


def test_every_digit_has_a_name_of_its_own_in_every_language() -> None:
    names = [name for each in named_digits.NAMES.values() for name in each]
    assert len(set(names)) == 10 * len(named_digits.NAMES)
    defaults: Any = reading.load(RECIPE).handler["defaults"]
    assert tuple(defaults["labels"]) == named_digits.NAMES["English"]


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = named_digits.model().eval()
    image, ids = torch.rand(2, 1, 8, 8), torch.randint(9, 20, (2, 3, 4))
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        alone = model(image, ids, mask)
        padded = model(image, *(torch.nn.functional.pad(each, (0, 5)) for each in (ids, mask)))
    for one, other in zip(alone, padded, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_the_archive_takes_labels_in_a_language_that_the_recipe_does_not_name(
    tmp_path: Path,
) -> None:
    build(reading.load(RECIPE), tmp_path)
    english, german = (named_digits.NAMES[each] for each in ("English", "German"))
    pairs, answers = named_digits.held_out(), []
    with Harness(tmp_path / "named_digits.mar", batch_size=16) as worker:
        for start in range(0, len(pairs), 16):
            forms = [
                Request.form({"data": body, "labels": json.dumps(german)})
                for body, _ in pairs[start : start + 16]
            ]
            answers += [response.json() for response in worker.predict(forms)]
    assert measure(answers, [german[english.index(name)] for _, name in pairs]) >= 0.95
