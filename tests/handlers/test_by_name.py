from __future__ import annotations

from pathlib import Path

import pytest

from handlers import by_name
from handlers.errors import LoadError

PACKAGE = "shelf_of_things"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / PACKAGE
    (folder / "deep").mkdir(parents=True)
    for name in ("__init__", "round", "square", "_shared", "broken", "deep/__init__"):
        text = "import no_such_engine" if name == "broken" else f"name = {name!r}"
        (folder / f"{name}.py").write_text(text)
    (folder / "notes.txt").touch()
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("package")
def test_what_there_is_are_its_modules_but_for_underscored_ones() -> None:
    assert by_name.known(PACKAGE) == ["broken", "deep", "round", "square"]
    assert by_name.find(PACKAGE, "round", "'shape'").name == "round"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("name", ["sqare", "_shared", "__init__", "", "../round", "notes", "a.b"])
def test_what_there_is_not_is_an_error_with_all_there_are(name: str) -> None:
    with pytest.raises(LoadError, match=r"in 'shape'; .*allowed: broken, deep, round, square"):
        by_name.find(PACKAGE, name, "'shape'")
    with pytest.raises(KeyError, match="is not allowed in 'shape'"):
        by_name.find(PACKAGE, name, "'shape'", KeyError)


@pytest.mark.usefixtures("package")
def test_the_nearest_is_named() -> None:
    with pytest.raises(LoadError, match="did you mean 'square'"):
        by_name.find(PACKAGE, "sqare", "'shape'")


@pytest.mark.usefixtures("package")
def test_what_is_there_and_breaks_says_so_itself() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_engine"):
        by_name.find(PACKAGE, "broken", "'shape'")
