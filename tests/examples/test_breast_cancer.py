"""The breast-cancer example, and a table of all kinds of columns, as archives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from examples.breast_cancer import assets, definition, held_out, model, split
from handlers.tables.columns import read
from marsmith import columns
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from tests.support.paths import ROOT


def ask(worker: Harness, *bodies: Any, explain: bool = False) -> list[Any]:
    responses = worker.predict([Request.json(body, explain=explain) for body in bodies])
    assert [response.status for response in responses] == [200] * len(bodies), responses
    return [response.json() for response in responses]


def test_the_parts_are_apart_and_the_labels_are_two() -> None:
    rows, labels, end = split()
    assert (len(rows), len(rows[0]), len(held_out())) == (569, 30, 143)
    assert set(labels[end:]) == set(labels) == {"benign", "malignant"}
    assert rows[0] not in rows[1:]


def test_what_travels_is_of_the_training_part_alone(tmp_path: Path) -> None:
    assets(model(), tmp_path)
    assert json.loads((tmp_path / "labels.json").read_text()) == ["benign", "malignant"]
    rows, _, end = split()
    known = read(tmp_path / "columns.json")
    assert known.names == list(rows[0])
    numbers = columns.encode(definition(), rows[:end])["numbers"]
    torch.testing.assert_close(numbers.mean(dim=0), torch.zeros(30), atol=1e-5, rtol=0)
    torch.testing.assert_close(numbers.std(dim=0, correction=0), torch.ones(30))


def test_the_recipe_can_be_read() -> None:
    found = reading.load(ROOT / "archiver_configs" / "breast_cancer.yaml")
    assert (found.task, found.accept.metric_at_least) == ("tabular", 0.98)


@pytest.mark.slow
def test_the_archive_tells_tumours_apart_and_says_why(tmp_path: Path) -> None:
    build(reading.load(ROOT / "archiver_configs" / "breast_cancer.yaml"), tmp_path)
    pairs = held_out()[:32]
    with Harness(tmp_path / "breast_cancer.mar", batch_size=32) as worker:
        rows = [json.loads(body) for body, _ in pairs]
        found = ask(worker, *rows)
        right = sum(a["prediction"] == label for a, (_, label) in zip(found, pairs, strict=True))
        assert right >= 29
        for answer, explained in zip(found, ask(worker, *rows, explain=True), strict=True):
            assert explained["target"] == answer["prediction"]
            assert list(explained["attributions"]) == list(rows[0])
        (gone,) = worker.predict([Request.json({**rows[0], "mean radios": 1})])
        assert (gone.status, "did you mean 'mean radius'?" in gone.json()["error"]) == (422, True)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torchscript", "onnx"])
def test_categories_missing_values_and_several_targets_serve_too(
    tmp_path: Path, runtime: str
) -> None:
    made = {
        "name": "rents",
        "task": "tabular",
        "source": {"factory": "tests.support.rents:model", "train": "tests.support.rents:train"},
        "runtime": runtime,
        "assets": "tests.support.rents:assets",
        "handler": {"kind": "regression", "threads": 1},
        "evaluation": {"data": "tests.support.rents:held_out", "metric": "r2"},
        "accept": {"metric_at_least": 0.95},
        "serving": {"batch_size": 8},
    }
    (tmp_path / "rents.yaml").write_text(yaml.safe_dump(made))
    build(reading.load(tmp_path / "rents.yaml"), tmp_path)
    with Harness(tmp_path / "rents.mar", batch_size=8) as worker:
        row = {"area": 60, "age": None, "town": "Oslo"}
        (answer,) = ask(worker, row)
        assert answer["prediction"] == pytest.approx([1240, 2480], rel=0.1)
        (explained,) = ask(worker, row, explain=True)
        assert explained["target"] == "rent"
        assert explained["attributions"]["town"] > 50
        assert explained["attributions"]["floor"] == pytest.approx(0, abs=0.01)
