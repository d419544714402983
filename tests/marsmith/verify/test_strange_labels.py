"""Right answers that a model can't give are told, whatever the metric makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from marsmith.cli.new import write
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.report.doubts import doubts

BODY = json.dumps({"age": 31, "income": 2800.0, "town": "Oslo"}).encode()


@pytest.mark.parametrize(
    ("metric", "title"),
    [("accuracy", "labels that the model doesn't have"), (None, "answers that nothing scores")],
)
def test_what_is_said_to_be_right_is_not_left_out_silently(
    tmp_path: Path, metric: str | None, title: str
) -> None:
    recipe, module, *_ = write("scored", "tabular", tmp_path)
    held_out = f"\n\ndef held_out():\n    return [({BODY!r}, 'stays'), ({BODY!r}, 'goes')]\n"
    module.write_text(module.read_text() + held_out)
    read = reading.load(recipe)
    whole = read.model_dump(mode="json", exclude_none=True, serialize_as_any=True)
    kept = {name: whole[name] for name in ("name", "task", "source", "assets", "handler")}
    evaluation = {"data": f"{module.stem}:held_out", **({"metric": metric} if metric else {})}
    report = build({**kept, "evaluation": evaluation}, tmp_path / "store")
    assert report is not None
    (found,) = [each for each in doubts(report) if each.title == title]
    if metric:
        assert "'goes'" in found.said
        assert "'stays'" not in found.said
    else:
        assert found.said.startswith("2 right answers")
