"""The site: pages that people have written, pages that are made, and Zensical, which joins them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pages import keys, messages, tasks
from pages.blocks import ROOT

FOLDER = ROOT / "build" / "docs"
CONFIG = ROOT / "docs" / "mkdocs.yml"
RECIPES = ROOT / "archiver_configs"
# Pages from the root of the checkout, and the names that they have on the site.
FROM_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
FROM_ROOT |= {"CHANGELOG.md": "changelog.md"}
ELSEWHERE = "https://unpkg.com/iframe-worker/shim"  # what Zensical asks for, to search from files
OURS = "file-worker.js"
NOT_RUN = re.compile(r"^( *)<!-- not run: (.*?) -->\n+(?=\1```\w)", re.MULTILINE)


def build() -> int:
    """Write all pages, and the site of them; 0, or the status of what refused them."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    stage(FOLDER / "pages")
    (FOLDER / "mkdocs.yml").write_text(yaml.safe_dump(configuration(), sort_keys=False), "utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=FOLDER, env=environment, check=False)
    if done.returncode == 0:
        from_files(FOLDER / "site")
        print(f"{FOLDER / 'site' / 'index.html'}")
    return done.returncode


def stage(into: Path) -> None:
    """Write every page of the site into a folder, those that are made among them."""
    shutil.copytree(ROOT / "docs", into, ignore=shutil.ignore_patterns("mkdocs.yml", "examples"))
    for source, name in FROM_ROOT.items():
        (into / name).write_text((ROOT / source).read_text("utf-8"), "utf-8")
    for page in into.rglob("*.md"):
        written = page.relative_to(into).as_posix()
        at = {new: old for old, new in FROM_ROOT.items()}.get(written, f"docs/{written}")
        page.write_text(on_site(page.read_text("utf-8"), at, written), "utf-8")
    for name, text in made().items():
        (into / name).parent.mkdir(exist_ok=True)
        (into / name).write_text(text, "utf-8")
    with (into / "trouble.md").open("a", encoding="utf-8") as trouble:
        trouble.write(messages.section())


def made() -> dict[str, str]:
    """The pages that are read off the code, by their names."""
    recipes = sorted(RECIPES.glob("*.yaml"))
    pages = {"keys.md": keys.page(), "tasks/index.md": tasks.index()}
    pages |= {f"tasks/{name}.md": tasks.page(name) for name in tasks.names()}
    pages["recipes/index.md"] = "# Recipes that ship\n\n" + "".join(
        f"- [{path.stem}]({path.stem}.md)\n" for path in recipes
    )
    for path in recipes:
        text = path.read_text("utf-8")
        pages[f"recipes/{path.stem}.md"] = f"# `{path.stem}`\n\n```yaml\n{text}```\n"
    return pages


def on_site(text: str, at: str, name: str) -> str:
    """A page with its links as they are on the site, and with what no test runs said to be so.

    Args:
        text: the page.
        at: where it is in the checkout.
        name: where it is on the site.
    """

    def moved(match: re.Match[str]) -> str:
        target, hash_, anchor = match[2].partition("#")
        if not target or "://" in target:
            return match[0]
        place = os.path.normpath(Path(at).parent / target)
        to = FROM_ROOT.get(place) or place.removeprefix("docs/")
        to = re.sub(r"^archiver_configs/(\w+)\.yaml$", r"recipes/\1.md", to)
        return f"]({os.path.relpath(to, Path(name).parent)}{hash_}{anchor})"

    text = re.sub(r"(\])\(([^()\s]+)\)", moved, text)
    return NOT_RUN.sub(r"\1*No test runs this: \2.*\n\n", text)


def configuration() -> dict[str, Any]:
    """Zensical's settings; the navigation has the pages that are there, and all of them."""
    settings: dict[str, Any] = yaml.safe_load(CONFIG.read_text("utf-8"))
    there = {path.relative_to(FOLDER / "pages") for path in (FOLDER / "pages").rglob("*.md")}
    names = {path.as_posix() for path in there}
    settings["nav"], named = _existing(settings["nav"], names), set()
    named = set(_leaves(settings["nav"]))
    if others := sorted(names - named):
        settings["nav"].append({"More": others})
    return settings


def from_files(site: Path) -> None:
    """Make a site work where no server is: nothing of it may come from elsewhere."""
    shutil.copy(Path(__file__).with_name(OURS), site / OURS)
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        root = os.path.relpath(site, page.parent)
        page.write_text(text.replace(ELSEWHERE, f"{root}/{OURS}"), "utf-8")


def _existing(nav: list[Any], names: set[str]) -> list[Any]:
    kept: list[Any] = []
    for entry in nav:
        ((title, inner),) = entry.items()
        if isinstance(inner, list):
            kept.append({title: _existing(inner, names)})
        elif inner.endswith("/"):
            below = sorted(name for name in names if name.startswith(inner))
            first = [name for name in below if name.endswith("/index.md")]
            kept.append({title: first + [name for name in below if name not in first]})
        elif inner in names:
            kept.append({title: inner})
    return [entry for entry in kept if all(entry.values())]


def _leaves(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        for inner in [entry] if isinstance(entry, str) else entry.values():
            yield from _leaves(inner) if isinstance(inner, list) else [inner]
