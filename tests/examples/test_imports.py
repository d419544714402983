"""What Python files import: how it is read, and that the model knows more than what is popular."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from examples import imports
from examples.imports import NextImport, imports_of
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.verify.metrics.recall_at_10 import measure
from tests.support.paths import ROOT

SOURCE = b'''
"""Told in order, and once."""
import os, sys as system
import os.path
from typing import Any, TYPE_CHECKING
from . import near
from .near import thing
from ..far.away import thing
if TYPE_CHECKING:
    from os import path
    import later
try:
    import perhaps
except ImportError:
    import instead
else:
    import then
finally:
    import last

def function():
    import hidden

class Thing:
    import hidden
'''


def test_imports_are_told_by_their_absolute_names() -> None:
    assert imports_of(SOURCE, ("one", "two")) == (
        *("os", "sys", "os.path", "typing.Any", "typing.TYPE_CHECKING"),
        *("one.two.near", "one.two.near.thing", "one.far.away.thing"),
        *("later", "perhaps", "then", "last", "instead"),
    )


@pytest.mark.parametrize("source", [b"import", b"\0", b"\xff", b"# coding: nonsense\nimport os"])
def test_a_file_that_cannot_be_read_imports_nothing(source: bytes) -> None:
    assert imports_of(source, ()) == ()


@pytest.mark.filterwarnings("error")
def test_what_others_have_written_warns_nobody() -> None:
    assert imports_of(b'import re\nre.match("\\d", "1")', ()) == ("re",)


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = torch.jit.script(NextImport(9, width=4).eval())
    histories = [[1], [2, 1, 0], [8, 8], []]
    with torch.inference_mode():
        together = model(torch.tensor([each + [9] * (5 - len(each)) for each in histories]))
        for history, vector in zip(histories, together, strict=True):
            torch.testing.assert_close(model(torch.tensor([history or [9]]))[0], vector)
    assert together.shape == (4, 5)
    assert together[:, -1].tolist() == [1] * 4


def test_the_recipe_can_be_read() -> None:
    found = reading.load(ROOT / "archiver_configs" / "imports.yaml")
    assert (found.task, found.handler["vectors"]) == ("recommendation", "vectors.npy")


@pytest.mark.slow
def test_there_are_many_users_and_none_of_them_twice() -> None:
    assert len(imports.files()) == len(set(imports.files()))
    known = [[name for name in history if name in imports.items()] for history in imports.files()]
    assert sum(len(each) >= imports.LONG for each in known) >= 1000
    assert len(imports.held_out()) >= 200
    trained = {history for place, history in enumerate(imports.files()) if place % 5}
    assert not trained & set(imports.files()[::5])


@pytest.mark.slow
def test_the_archive_knows_more_than_twice_what_is_popular(tmp_path: Path) -> None:
    recipe = reading.load(ROOT / "archiver_configs" / "imports.yaml")
    build(recipe, tmp_path)
    pairs, answers = imports.held_out(), list[Any]()
    with Harness(tmp_path / "imports.mar", batch_size=32) as worker:
        for start in range(0, len(pairs), 32):
            batch = [Request.raw(body) for body, _ in pairs[start : start + 32]]
            answers += [response.json() for response in worker.predict(batch)]
        (cold,) = worker.predict([Request.json({"history": []})])
        (unknown,) = worker.predict([Request.json({"history": ["os", "no.such"]})])
    expected = [following for _, following in pairs]
    popular = measure([{"items": each["items"]} for each in imports.by_popularity()], expected)
    assert measure(answers, expected) >= 2 * popular > 0.1
    assert recipe.accept.metric_at_least is not None
    assert recipe.accept.metric_at_least >= 2 * popular
    for answer, (body, _) in zip(answers, pairs, strict=True):
        assert len(answer["items"]) == 10
        assert not set(answer["items"]) & set(json.loads(body)["history"])
    best = sorted(imports.items(), key=lambda name: -imports.items()[name])[:10]
    assert cold.json()["from_popularity"]
    assert cold.json()["items"] == best
    assert (unknown.status, "'no.such'" in unknown.json()["error"]) == (422, True)
