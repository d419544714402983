"""Texts of many locales: what is to be found in them, and that the model finds it."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from examples import quantities
from examples.quantities import KINDS, LABELS, LOCALES, sentences
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.verify.metrics.entity_f1 import measure
from tests.support.paths import ROOT


def test_entities_are_where_they_are_said_to_be() -> None:
    kinds, scripts = set(), set()
    for text, entities in sentences(300, held_out=True):
        end = 0
        for entity in entities:
            found = text[entity["start"] : entity["end"]]
            assert entity["start"] >= end
            assert found.strip(" \u200e\u200f") == found != ""
            assert any(unicodedata.category(sign)[0] == "N" for sign in found)
            end = entity["end"]
            kinds.add(entity["label"])
        scripts |= {unicodedata.name(sign).split()[0] for sign in text if sign.isalpha()}
    assert kinds == set(KINDS)
    assert len(LOCALES) == 32
    assert {"ARABIC", "BENGALI", "CJK", "CYRILLIC", "GREEK", "HANGUL", "HEBREW", "THAI"} <= scripts


def test_they_are_always_the_same_and_the_parts_share_no_value() -> None:
    assert sentences(50, held_out=False) == sentences(50, held_out=False)
    seen, held = (
        {t[e["start"] : e["end"]] for t, entities in sentences(500, part) for e in entities}
        for part in (False, True)
    )
    assert not seen & held


@pytest.mark.slow
def test_they_are_the_same_whatever_was_read_before() -> None:
    orders = ["sentences(300, False)", "sentences(300, True), sentences(300, False)",
              "languages.names(), sentences(300, False)"]  # fmt: skip
    names = "from examples import languages; from examples.quantities import sentences"
    found = {
        subprocess.run(
            [sys.executable, "-c", f"{names}; print(ascii(({each},)[-1]))"],
            cwd=ROOT, capture_output=True, check=True, timeout=120,
        ).stdout
        for each in orders
    }  # fmt: skip
    assert len(found) == 1


def test_of_each_entity_the_first_token_begins_it() -> None:
    offsets = [(0, 2), (2, 4), (5, 6), (6, 9)]
    entities = [{"label": "TIME", "start": 2, "end": 6}]
    assert [LABELS[each] for each in quantities._labels(offsets, entities)] == [
        "O",
        "B-TIME",
        "I-TIME",
        "O",
    ]


@pytest.mark.slow
def test_the_recipe_that_ships(store: Path) -> None:
    recipe = reading.load(ROOT / "archiver_configs" / "quantities.yaml")
    build(recipe, store)
    held_out = quantities.held_out()
    with Harness(store / "quantities.mar", batch_size=16) as harness:
        answers = [
            response.json()
            for start in range(0, len(held_out), 16)
            for response in harness.predict(
                [Request.raw(body) for body, _ in held_out[start : start + 16]]
            )
        ]
        (one,) = harness.predict([Request.json({"data": "Paris 12,50 € – 14. März 2021"})])
    assert measure(answers, [entities for _, entities in held_out]) >= 0.90
    assert json.loads(one.body)["truncated"] is False
