from __future__ import annotations

import html
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsmith.archive.writing import dump
from marsmith.errors import MarsmithError
from marsmith.report.candidates import CandidateResult
from marsmith.report.measurements import Difference, LayerHarm, Rung, Timing
from marsmith.report.page import render
from marsmith.report.report import Report
from tests.support.sample_reports import SAMPLE, data, make

FIGURES = st.floats(allow_nan=False)  # infinite ones are measured
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=3)
DIFFERENCES = st.builds(Difference, FIGURES, FIGURES, FIGURES)
RUNGS = st.builds(
    Rung, st.text(), st.none() | FIGURES, DIFFERENCES, st.dictionaries(st.text(), DIFFERENCES),
    st.lists(st.integers()).map(tuple), st.integers(), FIGURES,
)  # fmt: skip
LAYERS = st.builds(LayerHarm, st.text(), st.text(), FIGURES)
TIMINGS = st.builds(Timing, FIGURES, FIGURES, st.integers(), st.integers())
RESULTS = st.builds(
    CandidateResult, candidate=st.text(), runtime=st.text(), precision=st.text(),
    status=st.sampled_from(["skipped", "failed", "refused", "admissible"]), verdict=st.text(),
    hint=st.text(), log=st.text(), bytes=st.none() | st.integers(), metric=st.none() | FIGURES,
    difference=st.none() | DIFFERENCES, timing=st.none() | TIMINGS, archived=st.none() | RUNGS,
    kept=st.lists(LAYERS).map(tuple), command=st.text(),
)  # fmt: skip
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "ladder": st.lists(RUNGS, min_size=1).map(tuple),
        "candidates": st.lists(RESULTS).map(lambda others: (*others, make().shipped)),
        "original": TIMINGS,
        "measured": st.dictionaries(st.text(), st.none() | FIGURES),
        "seconds": st.dictionaries(st.text(), FIGURES),
        "passes": st.lists(OBJECTS).map(tuple),
        "input": OBJECTS,
    },
)


def test_a_report_of_before_is_read_and_written_byte_for_byte() -> None:
    report = Report.read(SAMPLE)
    assert dump(report.model_dump()) == SAMPLE.read_bytes()
    assert {each.status for each in report.candidates} == {"shipped", "admissible", "skipped"}


def test_a_report_without_what_came_later_is_read() -> None:
    older = {k: v for k, v in data().items() if k not in ("random", "answers", "earlier")}
    report = Report.model_validate(older)
    assert (report.random, report.answers, report.earlier) == ((), None, None)


@settings(max_examples=30)
@given(CHANGES)
def test_what_is_read_back_is_what_was_written(changes: dict[str, Any]) -> None:
    report = make().model_copy(update=changes)
    said = json.loads(dump(report.model_dump()), parse_constant=refuse)
    jsonschema.validate(said, Report.model_json_schema())
    assert Report.model_validate(said) == report


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def test_what_is_no_number_is_written_as_it_was_measured(tmp_path: Path) -> None:
    measured = data() | {"seconds": {"a": math.nan, "b": math.inf, "c": -math.inf}}
    before = json.dumps(measured).encode()
    for number, text in enumerate((before, dump(measured))):
        (tmp_path / f"{number}.json").write_bytes(text)
        report = Report.read(tmp_path / f"{number}.json")
        assert math.isnan(report.seconds["a"])
        assert (report.seconds["b"], report.seconds["c"]) == (math.inf, -math.inf)
        assert dump(report.model_dump()) == dump(measured)
    said = json.loads(dump(measured), parse_constant=refuse)
    assert said["seconds"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity"}


def test_the_schema_has_every_key_and_no_other() -> None:
    schema = Report.model_json_schema()
    report = json.loads(SAMPLE.read_text())
    jsonschema.validate(report, schema)
    assert set(schema["properties"]) == set(report)
    added = {
        "workers",
        "timed",
        "unscored",
        "strange_labels",
        "random",
        "answers",
        "earlier",
    }  # since what version 0.2 wrote
    assert set(schema["required"]) == set(report) - added
    assert set(schema["$defs"]["CandidateResult"]["required"]) == set(report["candidates"][0])
    jsonschema.validate(data(), schema)
    for path in (report, report["candidates"][0], report["ladder"][0], report["environment"]):
        path["another"] = 1
        with pytest.raises(jsonschema.ValidationError, match="another"):
            jsonschema.validate(report, schema)
        del path["another"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "can't be read: No such file"),
        ("{", "is not a report: "),
        ("[]", "is not a report: "),
        (json.dumps(data() | {"objective": "fame"}), "objective: .* should be 'latency'"),
        (json.dumps(data() | {"candidates": []}), "one of the candidates must be 'shipped'"),
        (json.dumps(data() | {"ladder": []}), "ladder: .* at least 1 item"),
        (json.dumps(data() | {"colour": "red"}), "colour: "),
    ],
)
def test_what_is_no_report_is_said(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "x.report.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MarsmithError, match=rf"x\.report\.json.*{words}"):
        Report.read(path)


def test_reading_a_report_needs_no_pipeline() -> None:
    code = (
        "import sys; from pathlib import Path; from marsmith.report.report import Report\n"
        f"Report.read(Path({str(SAMPLE)!r})); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "marsmith.report.page" in loaded
    assert loaded.isdisjoint(
        {"torch", "jinja2", "matplotlib", "marsmith.verify.ladder", "handlers.base"}
    )


def test_candidates_come_from_the_best_to_those_that_never_ran() -> None:
    statuses = [each.status for each in make().ranked()]
    assert statuses == sorted(
        statuses, key=["shipped", "admissible", "refused", "failed", "skipped"].index
    )


@pytest.mark.parametrize("objective", ["latency", "throughput", "size"])
def test_the_objective_orders_the_admissible(objective: str) -> None:
    assert make(objective=objective).ranked()[1].candidate == "openvino:int8"
    slower = data()["candidates"]
    slower[12]["timing"] |= {"p50_ms": 20.0, "samples_per_s": 60.0}  # openvino:int8
    second = make(objective=objective, candidates=slower).ranked()[1].candidate
    assert second == ("openvino:int8" if objective == "size" else "torchscript:int8")


def test_in_words_it_says_what_became_of_whom() -> None:
    first, *lines = str(make()).splitlines()
    assert first == (
        "resnet50 2.1, image_classification: 25,912,345 bytes, accuracy 0.7613 → 0.7586"
    )
    assert lines[0] == "  onnx:int8 shipped: 7.49× the original's"
    assert len(lines) == len(make().candidates)


def test_a_notebook_shows_the_page_in_a_frame_of_its_own() -> None:
    frame = make()._repr_html_()
    _, page, _ = frame.split('"', 2)
    assert html.unescape(page) == render(make())
