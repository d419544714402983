"""What a module is made of is read from its source; nothing of it is run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from marsmith import imports

FILES = {
    "shop/__init__.py": "",
    "shop/till.py": "from . import coins\nfrom shop.deep import (\n    drawer,\n)\n",
    "shop/coins.py": "import json\nraise SystemExit('run')\n",
    "shop/deep/__init__.py": "from ..coins import euro\n",
    "shop/deep/drawer.py": "def open():\n    import beside\n",
    "shop/unrelated.py": "",
    "beside.py": "import shop.till\n",
    "typed.py": "import typing\nif typing.TYPE_CHECKING:\n    import beside\nelse:\n    import odd",
    "spread.py": "def late():\n    import space.within.a_module, space.no.module\n",
    "space/within/a_module.py": "",
    "odd.py": "try:\n    import no_such_module\nexcept ImportError:\n    pass\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def closure(project: Path, *names: str, without: tuple[str, ...] = ()) -> set[str]:
    found = imports.closure(names, ours=False, without=without)
    return {file.relative_to(project).as_posix() for file in found}


def test_a_module_is_made_of_all_that_it_imports_from_beside_it(project: Path) -> None:
    made_of = {name for name in FILES if name.startswith("shop")} - {"shop/unrelated.py"}
    assert closure(project, "shop.till") == made_of | {"beside.py"}


def test_what_only_type_checkers_read_does_not_count(project: Path) -> None:
    assert closure(project, "typed") == {"typed.py", "odd.py"}


def test_packages_without_a_file_of_their_own_are_followed(project: Path) -> None:
    assert closure(project, "spread") == {"spread.py", "space/within/a_module.py"}


def test_what_is_left_out_is_not_followed(project: Path) -> None:
    left = closure(project, "shop.till", without=("shop.deep",))
    assert left == {"shop/__init__.py", "shop/till.py", "shop/coins.py"}


def test_ours_count_only_where_they_are_asked_for(project: Path) -> None:
    (project / "uses_ours.py").write_text("import marsmith.atomic\n")
    alone = imports.closure(["uses_ours"], ours=False)
    assert [file.name for file in alone] == ["uses_ours.py"]
    both = {file.name for file in imports.closure(["uses_ours"], ours=True)}
    assert {"uses_ours.py", "atomic.py"} <= both


def test_of_what_is_installed_its_own_file_counts(project: Path) -> None:
    assert [file.name for file in imports.closure(["yaml"], ours=False)] == ["__init__.py"]
    (project / "reads.py").write_text("import yaml\n")
    assert closure(project, "reads") == {"reads.py"}


def test_a_module_that_is_not_there_is_named(project: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"shop\.gone"):
        closure(project, "shop.gone")


def test_names_that_are_imported_are_told_as_they_stand(project: Path) -> None:
    assert set(imports.imported_by("shop.till")) >= {"shop.coins", "shop.deep.drawer", "json"}


def test_what_a_module_goes_on_without_is_told(project: Path) -> None:
    assert imports.optional(project / "odd.py", "odd") == {"no_such_module"}
    assert imports.optional(project / "beside.py", "beside") == set()


def test_what_is_in_no_file_is_never_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert imports.unseen(["json", "marsmith.imports"]) == []
    cell, stdin = ModuleType("cell"), ModuleType("stdin")
    stdin.__file__ = "<stdin>"
    for each in (cell, stdin):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    assert imports.closure(["cell", "stdin"], ours=False) == []
    found = [*imports.unseen(["cell", "stdin"]), *imports.unseen(["cell", "stdin"])]
    assert len(set(found)) == 4
