from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from marsmith.archive.reading import inspect
from marsmith.cli.diff import compare
from marsmith.cli.reports import find
from marsmith.errors import MarsmithError
from tests.support.command import marsmith


@pytest.fixture
def copied(digits_archive: Path, tmp_path: Path) -> Path:
    """A store of one's own, with `digits` and its report."""
    for file in digits_archive.parent.glob("digits.*"):
        shutil.copy2(file, tmp_path)
    return tmp_path


def test_the_page_is_made_anew_and_its_path_printed(copied: Path) -> None:
    page = copied / "digits.report.html"
    page.write_text("old")
    done = marsmith("report", "digits", "--model-store", copied, "--no-browser")
    assert done.stdout == f"{page}\n"
    assert "What it answers" in page.read_text()


def test_a_report_is_found_by_name_archive_and_path(copied: Path) -> None:
    report = copied / "digits.report.json"
    for name in ("digits", str(copied / "digits.mar"), str(report)):
        assert find(name, copied) == report
    with pytest.raises(MarsmithError, match=r"no report 'digit' in .*; did you mean 'digits'"):
        find("digit", copied)


def test_a_report_is_json_too(copied: Path) -> None:
    printed = json.loads(marsmith("report", "digits", "--model-store", copied, "--json").stdout)
    assert printed == json.loads((copied / "digits.report.json").read_text())


def test_two_archives_are_compared_figure_by_figure(
    digits_archive: Path, wide_archive: Path
) -> None:
    found = compare(digits_archive, wide_archive)
    assert found["name"] == ("digits", "wide")
    assert found["archive, SHA-256"] == tuple(
        inspect(each)["sha256"] for each in (digits_archive, wide_archive)
    )
    same = ("task", "metric: accuracy", "version of torch", "model.pt, SHA-256", "samples")
    assert all(found[name][0] == found[name][1] is not None for name in same)
    assert all(each > 0 for each in found["samples/s"])


def test_a_report_of_other_bytes_says_nothing_of_an_archive(
    copied: Path, digits_archive: Path, wide_archive: Path
) -> None:
    shutil.copy2(wide_archive.with_suffix(".report.json"), copied / "digits.report.json")
    one, other = compare(copied / "digits.mar", digits_archive)["samples/s"]
    assert one is None
    assert other > 0
    said = marsmith("diff", copied / "digits.mar", digits_archive).stdout
    assert "not known" in said
    printed = json.loads(marsmith("diff", digits_archive, digits_archive, "--json").stdout)
    assert all(each["before"] == each["after"] for each in printed.values())
