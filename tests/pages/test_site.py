"""The site, built as `scripts/docs` does, and opened from its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers import tasks
from marsmith.recipe import sections
from pages import keys, messages, site
from tests.support.chromium import barriers, chromium
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "FOLDER", tmp_path_factory.mktemp("docs") / "build")
        assert site.build() == 0
        yield site.FOLDER


def test_each_task_recipe_and_page_is_on_it(built: Path) -> None:
    there = {path.relative_to(built / "site").as_posix() for path in built.rglob("*.html")}
    assert {f"tasks/{name}.html" for name in tasks.known()} <= there
    recipes = {path.stem for path in (ROOT / "archiver_configs").glob("*.yaml")}
    assert {f"recipes/{name}.html" for name in recipes} <= there
    assert {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} <= there
    navigation = (built / "mkdocs.yml").read_text("utf-8")
    pages = {path.relative_to(built / "pages").as_posix() for path in built.rglob("*.md")}
    assert [page for page in sorted(pages) if page not in navigation] == []


def test_a_link_to_nowhere_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(into: Path) -> None:
        into.mkdir(parents=True)
        (into / "index.md").write_text("# A page\n\n[nowhere](nowhere.md)\n")

    monkeypatch.setattr(site, "FOLDER", tmp_path / "build")
    monkeypatch.setattr(site, "stage", stage)
    assert site.build() != 0


@pytest.mark.slow
def test_it_works_from_files_with_nothing_from_elsewhere(built: Path) -> None:
    asked: list[str] = []
    wrong: list[str] = []
    with chromium() as browser:
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("requestfailed", lambda request: wrong.append(f"{request.url} {request.failure}"))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((built / "site" / "index.html").as_uri())
        page.get_by_role("button", name="Search").first.click()
        page.keyboard.type("rollbacks")
        found = page.get_by_role("link", name="Upgrades and rollbacks")
        found.last.wait_for(timeout=60_000)
        page.goto((built / "site" / "tasks" / "tabular.html").as_uri())
        assert page.get_by_role("heading", name="Options of a request").is_visible()
        assert [each for each in wrong if "ERR_ABORTED" not in each] == []
        # axe asks for style sheets by itself, which a page from a file may not.
        assert [each for each in barriers(page) if "color-contrast" not in each] == []
    assert {url.partition(":")[0] for url in asked} == {"file"}


def test_what_no_test_runs_says_so(built: Path) -> None:
    assert "No test runs this: it needs a GPU." in (built / "site" / "gpu.html").read_text("utf-8")


def test_each_key_of_a_recipe_is_explained() -> None:
    page = keys.page()
    every: list[type[sections.Section]] = [sections.Recipe, *keys.INNER.values()]
    for section in every:
        said = keys.comments(section)
        for name in section.model_fields:
            assert f"| `{name}` |" in page
            assert name in said or name in keys.INNER, f"{section.__name__}.{name}"


def test_each_message_says_what_to_do() -> None:
    found = messages.messages()
    assert len(found) > 200
    assert any("pip install" in each.hint for each in found)
    assert {each.kind for each in found} <= set(messages.KINDS)
