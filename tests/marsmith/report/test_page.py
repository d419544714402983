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
from tests.support.sample_reports import TRIED, alone, data, make

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
        if self.open[-1:] not in (["style"], ["script"]):
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
    found = re.findall(r'<tr class="figures">\s*<th scope="row">([^<]+)</th>', page)
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
    assert page.count("<script") == 1
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
    assert Counter(tag for tag, _ in read.elements)["script"] == 1  # ours
    assert "i" not in {tag for tag, _ in read.elements}
    assert not read.attributes("onload")
    assert "</svg><i onload='$x_1$'>\"&onnx:int8" in read.text


def test_the_page_needs_nothing_else(page: str, read: Reader) -> None:
    assert "url(" not in page
    assert "@import" not in page
    assert {tag for tag, _ in read.elements}.isdisjoint({"link", "iframe", "a"})
    assert all(each.startswith("data:image/png;base64,") for each in read.attributes("src"))
    for name in ("href", "xlink:href", "data", "action", "srcset"):
        assert all(target.startswith("#") for target in read.attributes(name))


def test_the_markup_is_whole_and_accessible(read: Reader) -> None:
    assert read.open == []
    names = Counter(read.attributes("id"))
    assert [name for name, count in names.items() if count > 1] == []
    for target in (*read.attributes("xlink:href"), *read.attributes("aria-labelledby")):
        assert target.removeprefix("#") in names
    tags = Counter(tag for tag, _ in read.elements)
    assert tags["table"] == tags["caption"] == 5
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
    assert "accuracy" not in read.text.lower().replace("whose accuracy", "")
    assert "Least cosine against speed" in read.text
    assert "outputs whose least cosine to the original's is 0.9978." in read.text


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
    for by, words in (
        ("", "the model as its own library or code runs it, without any part of ours"),
        ("the file itself, run by torch.jit", "the file itself, run by torch.jit, without any"),
    ):
        untouched = Rung("untouched", None, Difference(), {}, (1,), 64, by=by)
        found = report.model_copy(update={"ladder": (untouched, *report.ladder)})
        assert found.first == report.ladder[0]
        page = " ".join(render(found).split())
        assert words in page
    assert "what speeds are compared with; against the untouched model" in page


def test_the_plot_is_named_for_what_it_shows(read: Reader) -> None:
    assert "Accuracy against speed" in read.text


def test_no_cosine_of_an_example_is_said_without_saying_so() -> None:
    page = render(make(**alone()))
    words = "1 example, no held-out data"
    read = Reader(page)
    assert f"least cosine to the original's is 0.9978, of {words}." in read.text
    assert f"least cosine, {words}" in read.text  # the table's column
    assert f"0.9978 of {words}" in read.text  # the figure in large
    ladder = page.partition('<table class="ladder">')[2].partition("</table>")[0]
    for line in ladder.splitlines():
        if re.search(r"<td>(0\.9\d{3}|1\.0000)", line):
            assert words in line
    assert not re.search(r"(?<![\d.])1 samples(?!/)", read.text)


DOUBTS: list[tuple[dict[str, Any], str]] = [
    (
        {"timed": {"rounds": 20, "unsure": ["onnx:int8", "openvino:int8"]}},
        "The fastest isn't sure: onnx:int8, openvino:int8 scatter so much that 20 rounds",
    ),
    (
        {"timed": {"rounds": 5, "others": 2.5}},
        "A busy machine: others took 2.5 of 8 cores meanwhile",
    ),
    (alone(), "No held-out data: the task's own made-up example is all that was compared"),
    ({"samples": 1}, "One sample only: a single one says next to nothing"),
    (
        {"random": ["conv1.weight", "fc.bias"]},
        "Random weights: 2 tensors of the module are as chance made them: conv1.weight, fc.bias.",
    ),
    ({"random": ["fc.bias"]}, "1 tensor of the module is as chance made it: fc.bias."),
    (
        {"provenance": data()["provenance"] | {"data": {"evaluation": "a:b"}}},
        "No calibration data: static int8, often the fastest, couldn't be tried: tflite:int8.",
    ),
    (
        {"provenance": data()["provenance"] | {"data": dict.fromkeys(("evaluation", "calibration"),
                                                                     "a:b")}},
        "Calibration on the held-out data: int8 took its ranges from the very data",
    ),
    (
        {"provenance": data()["provenance"] | {"data": dict.fromkeys(("evaluation", "training",
                                                                      "calibration"), "a:b")}},
        "Training on the held-out data: passes learnt the very data",
    ),
    (
        {"original": data()["original"] | {"samples_per_s": 100.0, "p50_ms": 10.0}},
        "Slower than the original: what is shipped has 0.91× the original's throughput, 0.84× the"
        " original's speed at batch 1.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), DOUBTS)
def test_what_figures_would_hide_is_said_loudly(changes: dict[str, Any], words: str) -> None:
    text = Reader(render(make(**changes))).text
    assert "Don't trust these figures yet" in text
    assert words in text


def test_where_nothing_is_to_be_doubted_nothing_is_said(read: Reader) -> None:
    assert "Don't trust" not in read.text
    assert "Don't trust" not in Reader(render(make(timed={"rounds": 5, "others": 1.9}))).text


def test_a_slowdown_looks_like_one() -> None:
    original = data()["original"] | {"samples_per_s": 100.0, "p50_ms": 10.0}
    page = render(make(original=original))
    text = Reader(page).text
    assert "0.91× the original's (slower)," in text
    assert "Throughput 0.91× slower" in text
    assert "Speed at batch 1 0.84× slower" in text
    assert "↓ 0.86" in text  # openvino:int8


def test_what_is_said_of_many_is_said_once() -> None:
    row = {**data()["candidates"][6], "hint": "apt install g++"}
    many = [{**row, "candidate": f"pt2:{n}", "command": f"build {n}"} for n in range(24)]
    text = Reader(render(make(candidates=[*data()["candidates"], *many]))).text
    assert text.count("→ apt") + text.count("apt install g++") == 1
    assert "24 candidates: the conversion broke" in text
    assert all(f"pt2:{n} failed" in text and f"build {n}" in text for n in range(24))


def test_samples_are_shown_before_and_after(page: str, read: Reader) -> None:
    assert "2 of 50,000 answers decide for another label" in read.text
    assert "another label" in read.text
    assert "a <b>sleek</b> swimmer" in read.text
    assert 'alt="sample 17"' in page


def test_the_build_before_stands_beside(read: Reader) -> None:
    for words in ("Beside the build before", "openvino:fp32 onnx:int8", "0.7611 0.7586",
                  "33.4 90.6", "97.0 25.8", "2.12.0+cpu 2.13.0+cpu"):  # fmt: skip
        assert words in read.text
    same = make(earlier=data()["earlier"] | {"sha256": "9f" * 32, "cpu": "another one"})
    text = Reader(render(same)).text
    assert "its archive was the same, byte for byte" in text
    assert "made on another CPU, another one." in text


@pytest.mark.parametrize(
    ("apart", "words"),
    [
        (90.0, "it has a worker for each core of the machine: here 4 answered 1.80 times as much"),
        (60.0, "One worker serves it: 4 that share the cores answered 1.20 times as much here, and"
         " less than 1.25 times is worth neither"),
    ],
)  # fmt: skip
def test_how_many_workers_serve_it_and_why_is_said(apart: float, words: str) -> None:
    tried = {"count": 4, "together_per_s": 50.0, "apart_per_s": apart}
    text = Reader(render(make(workers=tried))).text
    assert words in text
    assert f"1 with all cores 50.0 4 with a core each {apart}" in text


def test_where_there_was_no_choice_of_workers_nothing_is_said(read: Reader) -> None:
    assert "Workers" not in read.text


def test_a_page_is_small(page: str) -> None:
    assert len(page.encode()) < 300_000
