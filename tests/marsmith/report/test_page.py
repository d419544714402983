from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest

from marsmith.report.measurements import Difference, Rung
from marsmith.report.page import render
from tests.support.sample_reports import TRIED, data, make

VOID = {"meta", "br", "link", "img", "input"}


class Reader(HTMLParser):
    """Collects a page's elements, its text, and what isn't closed where it should be."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.elements if name in attrs]


@pytest.fixture(scope="module")
def page() -> str:
    return render(make())


@pytest.fixture(scope="module")
def read(page: str) -> Reader:
    return Reader(page)


def test_the_headline_says_what_was_shipped_and_why(read: Reader) -> None:
    assert (
        "onnx:int8 was shipped, of 15 candidates the one with the best throughput of the 11 that "
        "may be: 90.6 samples/s at batch 8, 7.49× the original's, with accuracy 0.7586 "
        "(the original's is 0.7613)."
    ) in read.text


@pytest.mark.parametrize(
    ("objective", "words"),
    [("latency", "11.9 ms at batch 1, 7.13× as fast as the original,"), ("size", "25.8 MB, with")],
)
def test_the_headline_has_the_number_that_decided(objective: str, words: str) -> None:
    assert words in Reader(render(make(objective=objective))).text


def test_every_candidate_its_reason_hint_log_and_command_appear(read: Reader) -> None:
    for each in make().candidates:
        for word in (each.candidate, each.status, each.verdict, each.hint, each.log, each.command):
            assert " ".join(word.split()) in read.text


def test_candidates_come_from_the_shipped_to_the_skipped(page: str) -> None:
    found = re.findall(r'<th scope="rowgroup">([^<]+)</th>', page)
    assert found[:4] == ["onnx:int8", "openvino:int8", "torchscript:int8", "openvino:fp16"]
    assert found[-4:] == [
        "torchscript:int8_dynamic",
        "onnx:int8_dynamic",
        "pt2:bf16",
        "tflite:int8",
    ]


def test_what_was_measured_is_on_the_page(read: Reader) -> None:
    for words in (
        "25,557,032 → 12,701,184", "stage_8.features", "3.1e-7", "metric_max_drop",
        "Xeon(R) Platinum 8488C", "9f" * 32, "2026.4.0", "312.4", "25,912,345 bytes",
    ):  # fmt: skip
        assert words in read.text


def test_markup_in_a_reason_stays_text(page: str, read: Reader) -> None:
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert '<unknown>:/x/c3.main.cpp & "_mm512_cvtneps_pbh"' in read.text


def hostile(value: Any) -> Any:
    """The same report, with markup in every word of it that isn't a status or an objective."""
    if isinstance(value, dict):
        return {
            key: each if key in ("status", "objective") else hostile(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [hostile(each) for each in value]
    return f"</svg><i onload='$x_1$'>\"&{value}" if isinstance(value, str) else value


def test_markup_anywhere_stays_text() -> None:
    read = Reader(render(make(**hostile(data()))))
    assert {tag for tag, _ in read.elements}.isdisjoint({"i", "script"})
    assert not read.attributes("onload")
    assert "</svg><i onload='$x_1$'>\"&onnx:int8" in read.text


def test_the_page_needs_nothing_else(page: str, read: Reader) -> None:
    assert "url(" not in page
    assert "@import" not in page
    assert {tag for tag, _ in read.elements}.isdisjoint({"script", "link", "img", "iframe", "a"})
    for name in ("src", "href", "xlink:href", "data", "action", "srcset"):
        assert all(target.startswith("#") for target in read.attributes(name))


def test_the_markup_is_whole_and_accessible(read: Reader) -> None:
    assert read.open == []
    names = Counter(read.attributes("id"))
    assert [name for name, count in names.items() if count > 1] == []
    for target in (*read.attributes("xlink:href"), *read.attributes("aria-labelledby")):
        assert target.removeprefix("#") in names
    tags = Counter(tag for tag, _ in read.elements)
    assert tags["table"] == tags["caption"] == 3
    assert all("scope" in attrs for tag, attrs in read.elements if tag == "th")
    (label,) = (attrs["aria-label"] for _, attrs in read.elements if attrs.get("role") == "img")
    assert label is not None
    assert "On the front: onnx:int8, 0.7586 at 90.6; openvino:int8, 0.7591 at 86.2;" in " ".join(
        label.split()
    )
    assert "Refused: torchscript:int8_dynamic, onnx:int8_dynamic." in " ".join(label.split())


def test_without_a_metric_the_least_cosine_is_the_accuracy() -> None:
    report = data() | {"metric": None, "passes": []}
    for each in (*report["candidates"], *report["ladder"]):
        each["metric"] = None
    read = Reader(render(make(**report)))
    assert "↑ least cosine" in read.text
    assert "accuracy" not in read.text.replace("Accuracy against", "").replace("whose accuracy", "")
    assert "outputs whose least cosine to the original's is 0.9978" in read.text


def test_the_only_candidate_needs_no_comparison() -> None:
    alone = [each for each in data()["candidates"] if each["status"] == "shipped"]
    text = Reader(render(make(candidates=alone))).text
    assert "onnx:int8 was shipped, the only candidate: 90.6 samples/s" in text


MISSING: dict[str, list[tuple[str | int, ...]]] = {
    "an admissible one's figures": [
        ("candidates", 3, key) for key in ("timing", "metric", "difference", "bytes")
    ],
    "the shipped one's figures": [
        ("candidates", 8, key) for key in ("timing", "metric", "difference", "bytes")
    ],
    "the metric": [("ladder", 0, "metric"), ("metric",)],
}


@pytest.mark.parametrize("what", MISSING)
def test_a_missing_figure_is_no_obstacle(what: str) -> None:
    report: Any = data()
    for path in MISSING[what]:
        inner = report
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = None
    text = Reader(render(make(**report))).text
    assert all(name in text for name in TRIED)
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", text)


def test_the_same_report_gives_the_same_page(page: str) -> None:
    assert render(make()) == page
    code = (
        "import sys; from marsmith.report.report import Report\n"
        "from marsmith.report.page import render\n"
        "report = Report.model_validate_json(sys.stdin.read())\n"
        "sys.stdout.buffer.write(render(report).encode())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], input=make().model_dump_json().encode(), capture_output=True,
        check=True,
    )  # fmt: skip
    assert other.stdout.decode() == page


def test_the_users_own_model_comes_before_the_original() -> None:
    report = make()
    untouched = Rung("untouched", None, Difference(), {}, (1,), 64)
    found = report.model_copy(update={"ladder": (untouched, *report.ladder)})
    assert found.first == report.ladder[0]
    page = " ".join(render(found).split())
    assert "as its own library or code runs it, without any part of ours" in page
    assert "what speeds are compared with; against the untouched model" in page
