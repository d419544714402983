from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest

from marsmith.report_page import ranked, render
from marsmith.trials import ADMISSIBLE, FAILED, REFUSED, SHIPPED, SKIPPED

# status, MB, metric, largest error, cosine, p50 ms, samples/s; as a ResNet-50 on a server might
TRIED: dict[str, tuple[Any, ...]] = {
    "eager:fp32": (ADMISSIBLE, 102.3, 0.7613, 0.0, 1.0, 83.1, 12.3),
    "eager:bf16": (ADMISSIBLE, 51.3, 0.7609, 0.061, 0.99987, 60.9, 17.9),
    "torchscript:fp32": (ADMISSIBLE, 102.5, 0.7613, 3.1e-6, 1.0, 62.2, 17.4),
    "torchscript:int8": (ADMISSIBLE, 26.0, 0.7578, 0.43, 0.9971, 19.6, 61.0),
    "torchscript:int8_dynamic": (REFUSED, 96.2, 0.7441, 0.95, 0.9861, None, None),
    "pt2:fp32": (ADMISSIBLE, 102.6, 0.7613, 4.4e-6, 1.0, 44.0, 24.9),
    "pt2:bf16": (FAILED, None, None, None, None, None, None),
    "onnx:fp32": (ADMISSIBLE, 102.2, 0.7613, 2.4e-6, 1.0, 33.5, 31.1),
    "onnx:int8": (SHIPPED, 25.8, 0.7586, 0.38, 0.9978, 11.9, 90.6),
    "onnx:int8_dynamic": (REFUSED, 25.7, 0.1122, 7.9, 0.4403, None, None),
    "openvino:fp32": (ADMISSIBLE, 102.2, 0.7613, 2.9e-6, 1.0, 31.8, 33.0),
    "openvino:fp16": (ADMISSIBLE, 51.2, 0.7611, 0.0041, 0.99999, 31.6, 33.2),
    "openvino:int8": (ADMISSIBLE, 25.9, 0.7591, 0.36, 0.9979, 12.4, 86.2),
    "tflite:fp32": (ADMISSIBLE, 102.1, 0.7613, 5.2e-6, 1.0, 58.0, 17.2),
    "tflite:int8": (SKIPPED, None, None, None, None, None, None),
}
REASONS = {
    REFUSED: ("the {0} model was refused: metric drop 0.0172 > metric_max_drop 0.005; "
              "cosine 0.9861 < min_cosine 0.99",
              "nothing was written; mend the model, or the bounds in 'accept'"),
    FAILED: ("the conversion broke: InductorError: CppCompileError: C++ compile error at "
             "<unknown>:/x/c3.main.cpp & \"_mm512_cvtneps_pbh\" was not declared in this scope; "
             + "did you mean _mm512_cvtepi8_epi16? " * 2, ""),
    SKIPPED: ("tflite can't quantise aten::<script>alert('x')</script>_dot_product; onnx can",
              "pip install 'marsmith[tflite]'"),
}  # fmt: skip


def difference(error: float, cosine: float) -> dict[str, float]:
    return {"max_abs_error": error, "max_rel_error": error / 20, "min_cosine": cosine}


def row(name: str, figures: tuple[Any, ...]) -> dict[str, Any]:
    status, size, metric, error, cosine, p50, speed = figures
    reason, hint = REASONS.get(status, (f"{(speed or 0) / 12.1:.2f}× the original's", ""))
    timing = {"p50_ms": p50, "samples_per_s": speed, "batch_size": 8, "threads": 4}
    return {
        "candidate": name,
        "runtime": name.partition(":")[0],
        "precision": name.partition(":")[2],
        "status": status,
        "verdict": reason.format(name),
        "hint": hint,
        "log": f"/models/.cache/logs/resnet50/{name.replace(':', '-')}.log",
        "bytes": size and int(size * 1e6),
        "metric": metric,
        "difference": difference(error, cosine) if error is not None else None,
        "timing": timing if p50 else None,
        "archived": rung("archived", metric, 2e-7, ()) if status == ADMISSIBLE else None,
        "command": f"marsmith build archiver_configs/resnet50.yaml --candidate {name}",
    }


def rung(name: str, metric: float | None, error: float, outputs: tuple[str, ...]) -> dict[str, Any]:
    each = {k: difference(error / (i + 1), 1 - error / 200) for i, k in enumerate(outputs)}
    return {
        "name": name,
        "metric": metric,
        "difference": difference(error, 1 - error / 200),
        "outputs": each,
        "batch_sizes": [1, 3, 8],
        "samples": 50000,
    }


def make() -> dict[str, Any]:
    outputs = ("logits", *(f"stage_{number}.features" for number in range(1, 9)))
    return {
        "name": "resnet50",
        "version": "2.1",
        "task": "image_classification",
        "runtime": "onnx",
        "precision": "int8",
        "metric": "accuracy",
        "objective": "throughput",
        "accept": {
            "max_abs_error": None, "metric_at_least": 0.75, "metric_max_drop": 0.005,
            "min_cosine": 0.99,
        },
        "archive": {"bytes": 25_912_345, "sha256": "9f" * 32},
        "samples": 50000,
        "original": {"p50_ms": 84.9, "samples_per_s": 12.1, "batch_size": 8, "threads": 4},
        "candidates": [row(name, figures) for name, figures in TRIED.items()],
        "ladder": [
            rung("original", 0.7613, 0.0, outputs),
            rung("passes", 0.7609, 0.11, outputs),
            rung("onnx:int8", 0.7586, 0.38, outputs),
            rung("archived", 0.7586, 2.4e-7, ()),
            rung("served", 0.7586, 3.1e-7, ()),
        ],
        "passes": [
            {
                "pass": "prune_structured",
                "before": {"parameters": 25_557_032, "macs": 4_089_284_608},
                "after": {"parameters": 12_701_184, "macs": 1_998_004_224},
                "epochs": 5, "loss": 0.8123456,
            },
            {"pass": "qat", "layers": 53, "epochs": 2, "loss": None},
        ],
        "engines": {"onnx": "1.22.0", "onnxruntime": "1.31.0", "openvino": "2026.4.0"},
        "versions": {"torch": "2.13.0+cpu", "numpy": "2.4.6", "marsmith": "0.1.0"},
        "environment": {
            "python": "3.11.7", "system": "Linux-6.18-x86_64-with-glibc2.36",
            "cpu": "Intel(R) Xeon(R) Platinum 8488C", "instructions": "AVX512", "cores": 8,
            "threads": 4, "gpu": None,
        },
        "seconds": {"original": 312.4, "candidates": 1450.02, "timing": 88.1, "archived": 41.0},
    }  # fmt: skip


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
    assert words in Reader(render(make() | {"objective": objective})).text


def test_every_candidate_its_reason_hint_log_and_command_appear(read: Reader) -> None:
    for each in make()["candidates"]:
        for key in ("candidate", "status", "verdict", "hint", "log", "command"):
            assert " ".join(each[key].split()) in read.text


def test_candidates_come_from_the_shipped_to_the_skipped(page: str) -> None:
    found = re.findall(r'<th scope="rowgroup">([^<]+)</th>', page)
    assert found[:4] == ["onnx:int8", "openvino:int8", "torchscript:int8", "openvino:fp16"]
    assert found[-4:] == [
        "torchscript:int8_dynamic",
        "onnx:int8_dynamic",
        "pt2:bf16",
        "tflite:int8",
    ]


def test_the_objective_orders_the_admissible() -> None:
    first = {
        objective: [row["candidate"] for row in ranked(make()["candidates"], objective)][1]
        for objective in ("latency", "throughput", "size")
    }
    assert first == {
        "latency": "openvino:int8", "throughput": "openvino:int8", "size": "openvino:int8",
    }  # fmt: skip
    slower = make()["candidates"]
    slower[12]["timing"]["p50_ms"] = 20.0  # openvino:int8
    assert ranked(slower, "latency")[1]["candidate"] == "torchscript:int8"


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
    read = Reader(render(hostile(make())))
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
    report = make() | {"metric": None, "passes": []}
    for each in (*report["candidates"], *report["ladder"]):
        each["metric"] = None
    read = Reader(render(report))
    assert "↑ least cosine" in read.text
    assert "accuracy" not in read.text.replace("Accuracy against", "").replace("whose accuracy", "")
    assert "outputs whose least cosine to the original's is 0.9978" in read.text


def test_the_only_candidate_needs_no_comparison() -> None:
    report = make()
    report["candidates"] = [each for each in report["candidates"] if each["status"] == SHIPPED]
    assert (
        "onnx:int8 was shipped, the only candidate: 90.6 samples/s" in Reader(render(report)).text
    )


def test_with_nothing_shipped_or_timed_there_is_still_a_page() -> None:
    report = make() | {"original": None, "archive": None, "environment": None, "accept": None}
    report["candidates"] = [
        row for row in report["candidates"] if row["status"] in (FAILED, SKIPPED)
    ]
    page = render(report)
    assert "No candidate was shipped." in page
    assert "<svg" not in page


MISSING = {
    "an admissible one's figures": [
        ("candidates", 3, key) for key in ("timing", "metric", "difference", "bytes")
    ],
    "the shipped one's figures": [
        ("candidates", 8, key) for key in ("timing", "metric", "difference", "bytes", "verdict")
    ],
    "the original's metric": [("ladder", 0, "metric"), ("accept", "min_cosine"), ("metric",)],
    "all else": [
        (key,) for key in (
            "original", "objective", "archive", "environment", "engines", "versions", "seconds",
            "passes",
        )
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", MISSING)
def test_a_missing_figure_is_no_obstacle(what: str) -> None:
    report: Any = make()
    for path in MISSING[what]:
        inner = report
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = None
    text = Reader(render(report)).text
    assert all(name in text for name in TRIED)
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", text)


def test_the_same_report_gives_the_same_page(page: str) -> None:
    assert render(copy.deepcopy(make())) == page
    code = (
        "import json, sys; from marsmith.report_page import render;"
        "sys.stdout.buffer.write(render(json.load(sys.stdin)).encode())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(make()).encode(), capture_output=True,
        check=True,
    )  # fmt: skip
    assert other.stdout.decode() == page
