"""The system's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

TIMEOUT_MS = 60_000
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 780}
SERIOUS = ("serious", "critical")
# A microphone that hears a tone now and then, and is given to whoever asks.
FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start it; the test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FAKE))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, address: str, *, narrow: bool = False, dark: bool = False, refused: str = ""
) -> Iterator[Page]:
    """Open a page, on which nothing may fail: no script, no request, no rule of its policy.

    Args:
        browser: Chromium.
        address: the page's.
        narrow: whether it is as wide as a telephone.
        dark: whether its user likes it dark.
        refused: the status that a request may be refused with, as "415".
    """
    wrong: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        expected = refused and f"the server responded with a status of {refused}" in message.text
        if message.type == "error" and not expected:
            wrong.append(message.text)

    context = browser.new_context(
        viewport=NARROW if narrow else WIDE,  # type: ignore[arg-type]  # a TypedDict
        color_scheme="dark" if dark else "light",
        permissions=["clipboard-read", "clipboard-write", "microphone"],
    )
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page.on("console", heard)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    try:
        page.goto(address)
        yield page
    finally:
        context.close()
    assert wrong == []


def barriers(page: Page) -> list[str]:
    """What axe finds that keeps people out: of serious and of critical weight."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['nodes'][0]['html']}: {each['nodes'][0]['failureSummary']}"
        for each in found
        if each["impact"] in SERIOUS
    ]
