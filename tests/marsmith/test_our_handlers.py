"""A project with a `handlers` of its own, which is the name of a package of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import handlers
from handlers import tasks
from marsmith import our_handlers
from marsmith.archive.contents import travelling
from marsmith.cache import Cache
from marsmith.errors import MarsmithError, RecipeError
from marsmith.recipe.reading import load
from marsmith.recipe.references import locate, resolve, source_files
from tests.support.own_handlers import PROJECT, write
from tests.support.paths import ROOT


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, which is the current one; what was imported from it is forgotten."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
            if (own := name.removeprefix("handlers.")) in vars(handlers):
                delattr(handlers, own)
    del handlers.__path__[1:]


@pytest.mark.parametrize("left_out", ["", "handlers/__init__.py"])
def test_both_are_found(project: Path, left_out: str) -> None:
    write(project, {name: text for name, text in PROJECT.items() if name != left_out})
    assert len(resolve("handlers.net:make")()) == 2
    assert resolve("handlers.schema:unknown").__module__ == "handlers.schema"
    files = source_files("handlers.net:make")
    named = {"handlers/net.py", "handlers/layers.py"}
    assert named <= {str(file.relative_to(project)) for file in files} <= set(PROJECT)
    assert "net" not in tasks.known()


def test_what_it_trains_is_trained_anew_when_it_changes(project: Path, tmp_path: Path) -> None:
    write(project, PROJECT)
    source = load(project / "shades.yaml").source
    said: list[str] = []
    kept = Cache(tmp_path / "kept")
    source.load(kept, said.append)
    source.load(kept, said.append)
    (project / "handlers" / "layers.py").write_text(
        "from torch import nn\ndef head(): return nn.Linear(12, 2)  # other"
    )
    source.load(kept, said.append)
    assert [line.split()[0] for line in said] == ["train", "load", "train"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"handlers/schema.py": "X = 1"}, "schema"),
        ({"handlers/runtimes/mine.py": "X = 1"}, "runtimes"),
        ({"handlers/__init__.py": "from handlers.net import make"}, "__init__.py"),
    ],
)
def test_what_would_be_hidden_is_refused(project: Path, files: dict[str, str], words: str) -> None:
    write(project, PROJECT | files)
    with pytest.raises(RecipeError, match=words) as raised:
        resolve("handlers.net:make")
    assert str(project / "handlers") in raised.value.message
    assert "another name" in raised.value.hint


@pytest.mark.parametrize(
    "use",
    [
        "from handlers.schema import make",
        "def make():\n    from handlers import schema",
        "from handlers import make",
        "import handlers\nmake = handlers.make",
        "from beside import make",
    ],
)
def test_so_is_it_from_elsewhere(project: Path, use: str) -> None:
    write(project, {"handlers/__init__.py": "def make(): pass", "net.py": use})
    write(project, {"handlers/schema.py": "def make(): pass"})
    write(project, {"beside.py": "from handlers import schema\ndef make(): pass"})
    with pytest.raises(RecipeError, match=r"net:make.* uses .*handlers"):
        resolve("net:make")


def test_a_module_alone_is_refused(project: Path) -> None:
    write(project, {"handlers.py": "def make(): pass", "net.py": "from handlers import make"})
    for reference in ("handlers:make", "net:make"):
        with pytest.raises(RecipeError, match=r"uses .*handlers\.py"):
            resolve(reference)


def test_what_a_recipe_does_not_use_may_be_as_it_is(project: Path) -> None:
    write(project, {"handlers/__init__.py": "from handlers.schema import APP"})
    write(project, {"handlers/schema.py": "APP = 1", "net.py": "from handlers import batching"})
    write(project, {"net.py": "from handlers import batching\ndef make(): return batching"})
    assert Path(resolve("net:make")().__file__).is_relative_to(our_handlers.OURS)


@pytest.mark.parametrize("task", ["handlers.mine:Mine", "mine:Mine"])
def test_it_can_not_travel(project: Path, task: str) -> None:
    mine = """
        from handlers.tasks.image_classification import ImageClassification
        from handlers import layers

        class Mine(ImageClassification):
            pass
        """
    write(project, PROJECT | {"handlers/mine.py": mine, "mine.py": mine})
    recipe = (project / "shades.yaml").read_text()
    (project / "shades.yaml").write_text(recipe.replace("image_classification", task))
    with pytest.raises(MarsmithError, match=r"Mine' uses .*/handlers, .* travel") as raised:
        travelling(load(project / "shades.yaml"))
    assert "another name" in raised.value.hint


def test_a_task_that_would_get_the_wrong_parent_is_refused(project: Path) -> None:
    write(project, {"handlers/labels.py": "class Labels: pass"})
    write(project, {"mine.py": "from handlers.labels import Labels\nclass Mine(Labels): pass"})
    write(project, {"mine.yaml": 'name: x\ntask: mine:Mine\nsource: {factory: "mine:f"}'})
    with pytest.raises(RecipeError, match=r"mine:Mine' uses .*labels"):
        load(project / "mine.yaml")


def test_files_are_found_in_both(project: Path) -> None:
    write(project, PROJECT | {"handlers/weights.pt": ""})
    resolve("handlers.net:make")
    assert locate("handlers:weights.pt", Path("elsewhere")) == project / "handlers" / "weights.pt"
    assert locate("handlers:base.py", Path("elsewhere")).is_relative_to(our_handlers.OURS)


def test_a_copy_of_ours_is_none_of_theirs(project: Path) -> None:
    write(project, {"handlers/archive_entry.py": "", "handlers/extra.py": "def f(): pass"})
    with pytest.raises(RecipeError, match=r"No module named .handlers\.extra"):
        resolve("handlers.extra:f")


def run(
    folder: Path, *arguments: str, program: tuple[str, ...] = ("-m", "marsmith.cli")
) -> subprocess.CompletedProcess[str]:
    """Start Python in a folder, which is searched first, for ours on a path that comes later."""
    return subprocess.run(
        [sys.executable, *program, *arguments], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_finds_both_and_so_do_processes_that_train_together(tmp_path: Path) -> None:
    write(tmp_path, PROJECT)
    done = run(tmp_path, "build", "shades.yaml", "--nproc", "2")
    assert done.returncode == 0, done.stderr
    done = run(tmp_path, "run", "model_store/shades.mar", "shades.yaml")
    assert "shades.yaml: 415" in done.stdout, done.stderr


def test_the_command_minds_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    write(tmp_path, {"handlers/__init__.py": "import app", "handlers/schema.py": "import app"})
    done = run(tmp_path, "new", "rents", "--task", "tabular")
    assert done.returncode == 0, done.stderr


def test_one_that_was_imported_first_is_told(tmp_path: Path) -> None:
    write(tmp_path, PROJECT)
    program = "import handlers; from marsmith.cli.commands import main; main()"
    done = run(tmp_path, "build", "shades.yaml", program=("-c", program))
    assert done.returncode == 1
    assert f"error: {tmp_path / 'handlers'} has been imported" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_front_door_takes_the_name_only_where_it_must(tmp_path: Path) -> None:
    write(tmp_path, {"handlers/__init__.py": "APP = 1"})
    program = """
import sys, marsmith
for name in set(marsmith.__all__) - {"build", "convert", "load"}:
    getattr(marsmith, name)
assert "handlers" not in sys.modules
from handlers import APP
try:
    marsmith.load
except marsmith.our_handlers.MarsmithError as error:
    print(error.message)
"""
    done = run(tmp_path, program=("-c", program))
    assert "handlers has been imported" in done.stdout, done.stderr


def test_the_front_door_finds_both(tmp_path: Path) -> None:
    write(tmp_path, PROJECT)
    program = "import marsmith; marsmith.convert('shades.yaml', 'eager', 'out')"
    done = run(tmp_path, program=("-c", program))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model_net.py").is_file()
