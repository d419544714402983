from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from marsmith.pipeline.samples import compared, earlier, picture
from marsmith.report.report import Report
from marsmith.verify.evaluation import Data
from tests.support.sample_reports import SAMPLE


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(file, "PNG")
    return file.getvalue()


def test_what_is_decided_otherwise_comes_first_then_what_differs_most() -> None:
    data = Data([b"one", b"two", b"three", png(8, 8)], "", ["a", "b", "a", "b"])
    before: list[object] = [{"a": 0.9}, {"b": 0.6, "a": 0.400000123}, {"a": 0.8}, {"b": 0.7}]
    after: list[object] = [{"a": 0.7}, {"a": 0.51, "b": 0.49}, {"a": 0.75}, {"b": 0.7}]
    found = compared(data, before, after)
    assert (found.samples, found.changed) == (4, 1)
    assert [each.index for each in found.shown] == [1, 0, 2, 3]
    worst, *_, last = found.shown
    assert (worst.text, worst.expected, worst.decided) == ("two", "b", False)
    assert worst.before == '{"b": 0.6, "a": 0.4}'
    assert worst.after == '{"a": 0.51, "b": 0.49}'
    assert last.picture.startswith("data:image/png;base64,")
    assert last.difference == 0


def test_answers_that_rank_no_labels_decide_nothing() -> None:
    found = compared(Data([b"a", b"b"], "", None), ["one text", [1.0, 2.0]], ["other", [1.0, 2.5]])
    assert found.changed is None
    assert [each.difference for each in found.shown] == [None, 0.5]
    assert {each.expected for each in found.shown} == {None}


def test_what_is_long_is_cut_and_what_is_no_text_is_counted() -> None:
    bodies = ["ü".encode() * 5000, b"\xff\x00" * 3000, b"RIFF\x00\x01", b"a\nb"]
    found = compared(Data(bodies, "", None), ["x" * 9999] * 4, ["x"] * 4)
    texts = {each.index: each.text for each in found.shown}
    assert texts[0].startswith("üüü")
    assert texts[0].endswith("…")
    assert (texts[1], texts[2], texts[3]) == ("6,000 bytes", "6 bytes", "a b")
    assert all(len(each.before) <= 240 for each in found.shown)


def test_a_picture_is_small_whatever_was_sent() -> None:
    assert len(picture(png(3000, 2000))) < 20_000
    assert picture(b"no image") == ""


def test_of_the_build_before_the_report_says_what_it_was(tmp_path: Path) -> None:
    found, report = earlier(SAMPLE), Report.read(SAMPLE)
    assert found
    assert found.sha256 == report.archive.sha256
    assert found.metric == report.shipped.metric
    assert found.timing == report.shipped.timing
    assert earlier(tmp_path / "none.report.json") is None
    (tmp_path / "of-another-version.report.json").write_text('{"name": "x"}')
    assert earlier(tmp_path / "of-another-version.report.json") is None
