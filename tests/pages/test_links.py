"""Links of pages: files, anchors, and addresses elsewhere, of which the form alone is looked at."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pages import blocks
from tests.support.paths import ROOT

LINK = re.compile(r"(?<!\\)\]\(([^()\s]+(?:\([^()\s]*\))?)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
# Of the site, made from the code: no file of the checkout.
MADE = re.compile(r"docs/(keys\.md|(tasks|recipes)/\w+\.md)$")


def links(page: Path) -> list[str]:
    return LINK.findall(CODE.sub("", page.read_text("utf-8")))


def anchors(page: Path) -> set[str]:
    """Those of a page's headings, as GitHub and Zensical make them."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    words = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[\s-]+", "-", each) for each in words}


@pytest.mark.parametrize("page", blocks.sources(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            good = parts.scheme in ("http", "https") and "." in parts.netloc
        else:
            target = (page.parent / parts.path).resolve() if parts.path else page
            made = MADE.search(target.relative_to(ROOT).as_posix())
            good = bool(made) or target.exists()
            if good and parts.fragment and target.suffix == ".md" and not made:
                good = parts.fragment in anchors(target)
        wrong += [] if good else [link]
    assert wrong == []
