"""One process, several recipes, and code that is edited between builds."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from marsmith.errors import RecipeError
from marsmith.recipe.reading import load
from marsmith.recipe.references import resolve
from marsmith.recipe.sections import Recipe

RECIPE = "name: {name}\ntask: tensors\nsource: {{factory: 'one_name.model:make'}}\n"


@pytest.fixture(autouse=True)
def _as_found() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] == "one_name"]:
        del sys.modules[name]


def recipe_in(folder: Path, says: str, init: bool = True) -> Path:
    """A recipe whose factory tells what a module that it imports says."""
    package = folder / "one_name"
    package.mkdir(parents=True)
    if init:
        (package / "__init__.py").touch()
    (package / "said.py").write_text(f"SAID = {says!r}\n")
    (package / "model.py").write_text("from one_name import said\ndef make(): return said.SAID\n")
    (folder / "recipe.yaml").write_text(RECIPE.format(name=folder.name))
    return folder / "recipe.yaml"


def made(recipe: Recipe | Path) -> object:
    """What the factory of a recipe returns, when the recipe is built now."""
    load(recipe)
    return resolve("one_name.model:make")()


@pytest.mark.parametrize("init", [True, False], ids=["package", "folder"])
def test_a_name_means_the_module_beside_its_recipe(tmp_path: Path, init: bool) -> None:
    first, second = (recipe_in(tmp_path / name, name, init) for name in "ab")
    assert made(first) == "a"
    assert made(second) == "b"
    both = load(first), load(second)
    assert [made(each) for each in (*both, *both)] == ["a", "b", "a", "b"]


def test_what_was_edited_is_imported_anew_and_with_it_what_imports_it(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path / "a", "before")
    assert made(recipe) == "before"
    said = tmp_path / "a/one_name/said.py"
    said.write_text("SAID = 'after it'\n")
    assert made(recipe) == "after it"
    # As long as before: only the time tells.
    said.write_text("SAID = 'after me'\n")
    os.utime(said, ns=(said.stat().st_atime_ns, said.stat().st_mtime_ns + 2_000_000_000))
    assert made(recipe) == "after me"


def test_what_is_as_it_was_is_not_imported_again(tmp_path: Path) -> None:
    recipe = recipe_in(tmp_path / "a", "a")
    made(recipe)
    before = sys.modules["one_name.model"]
    made(recipe)
    assert sys.modules["one_name.model"] is before


def test_what_the_program_has_from_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe_in(tmp_path / "a", "a")
    monkeypatch.syspath_prepend(tmp_path / "a")
    importlib.import_module("one_name.model")
    second = recipe_in(tmp_path / "b", "b")
    with pytest.raises(RecipeError, match="has been imported from") as caught:
        made(second)
    assert str(tmp_path / "b") in str(caught.value) or str(tmp_path / "a") in str(caught.value)
    assert caught.value.hint


def test_the_program_itself_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "__main__.py").touch()
    monkeypatch.setattr(sys.modules["__main__"], "given", lambda: 7, raising=False)
    recipe = recipe_in(tmp_path / "a", "a")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        load(recipe)
        assert resolve("__main__:given")() == 7
