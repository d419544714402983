"""The page of a report in a real browser: sorted, filtered, without scripts, without barriers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from marsmith.report.page import render
from tests.support.chromium import TIMEOUT_MS, barriers, chromium, opened
from tests.support.sample_reports import alone, data, make

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    row = {**data()["candidates"][6], "verdict": "there is no compiler"}
    many = [{**row, "candidate": f"pt2:{n}"} for n in range(24)]
    reports = {
        "sound": make(),
        "doubtful": make(**alone(random=["fc.bias"])),
        "many": make(candidates=[*data()["candidates"], *many]),
    }
    folder = tmp_path_factory.mktemp("pages")
    for name, report in reports.items():
        (folder / f"{name}.html").write_text(render(report), "utf-8")
    return {name: Path(folder, f"{name}.html").as_uri() for name in reports}


def candidates(page: Page) -> list[str]:
    rows = page.locator(".candidates .figures th")
    return [rows.nth(n).inner_text() for n in range(rows.count()) if rows.nth(n).is_visible()]


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["sound", "doubtful", "many"])
def test_nothing_keeps_anybody_out(
    browser: Browser, addresses: dict[str, str], name: str, narrow: bool, dark: bool
) -> None:
    with opened(browser, addresses[name], narrow=narrow, dark=dark) as page:
        assert barriers(page) == []
        width: int = page.evaluate("document.documentElement.scrollWidth")
        assert width == (360 if narrow else 1280)


def test_a_column_sorts_by_its_figures_both_ways(
    browser: Browser, addresses: dict[str, str]
) -> None:
    with opened(browser, addresses["sound"]) as page:
        head = page.get_by_role("columnheader", name="p50 ms, batch 1")
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        up = candidates(page)
        assert up[:3] == ["onnx:int8", "openvino:int8", "torchscript:int8"]
        page.keyboard.press("Enter")  # the focus stays on it
        assert head.get_attribute("aria-sort") == "descending"
        assert candidates(page)[:2] == ["eager:fp32", "torchscript:fp32"]
        assert set(candidates(page)[-4:]) == set(up[-4:])  # what is unknown stays last


def test_a_filter_shows_what_has_all_its_words(browser: Browser, addresses: dict[str, str]) -> None:
    with opened(browser, addresses["many"]) as page:
        everything = candidates(page)
        filtered = page.get_by_role("searchbox", name="Filter")
        filtered.fill("onnx: INT8")
        assert candidates(page) == ["onnx:int8", "onnx:int8_dynamic"]
        assert page.get_by_text("2 of 39 shown").is_visible()
        filtered.fill("no compiler")
        assert len(candidates(page)) == 24
        filtered.fill("")
        assert candidates(page) == everything


def test_without_scripts_all_is_there(browser: Browser, addresses: dict[str, str]) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(TIMEOUT_MS)
    try:
        page = context.new_page()
        page.goto(addresses["sound"])
        assert len(candidates(page)) == len(make().candidates)
        assert not page.get_by_role("searchbox").is_visible()
        assert page.get_by_role("img", name="A scatter").is_visible()
    finally:
        context.close()
