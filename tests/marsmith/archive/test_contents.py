"""What travels in an archive: files, folders, and the package that one's own task lives in."""

from __future__ import annotations

from pathlib import Path

import pytest

from marsmith.archive.contents import own_code, travelling
from marsmith.errors import BuildError
from marsmith.recipe.sections import Recipe


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    return folder


def names(recipe: Recipe) -> list[str]:
    return sorted(travelling(recipe))


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_one_of_our_tasks_adds_nothing(digits_recipe: Recipe) -> None:
    assert travelling(digits_recipe) == {}
    ours = "handlers.tasks.image_classification:ImageClassification"
    assert travelling(digits_recipe.model_copy(update={"task": ours})) == {}


def test_files_and_folders_keep_their_names(digits_recipe: Recipe, tmp_path: Path) -> None:
    write(tmp_path, "labels.json", "words/en/a.txt", "words/b.txt", "words/.hidden", "other.txt")
    write(tmp_path, "words/__pycache__/a.pyc", "words/.git/config")
    files = (tmp_path / "labels.json", tmp_path / "words")
    recipe = digits_recipe.model_copy(update={"files": files})
    assert names(recipe) == ["labels.json", "words/b.txt", "words/en/a.txt"]
    assert travelling(recipe)["words/en/a.txt"].read_text() == "# words/en/a.txt\n"


def test_a_package_travels_whole_and_a_module_alone(
    digits_recipe: Recipe, importable: Path
) -> None:
    write(importable, "wholepkg/__init__.py", "wholepkg/deep/task.py", "wholepkg/data.bin")
    write(importable, "single_task.py", "another.py")
    whole = digits_recipe.model_copy(update={"task": "wholepkg.deep.task:Task"})
    assert names(whole) == ["wholepkg/__init__.py", "wholepkg/data.bin", "wholepkg/deep/task.py"]
    single = digits_recipe.model_copy(update={"task": "single_task:Task"})
    assert names(single) == ["single_task.py"]
    # As recipes said it before it was automatic.
    twice = single.model_copy(update={"files": (importable / "single_task.py",)})
    assert names(twice) == ["single_task.py"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("handlers/mine.py", "handlers"),
        ("handlers.py", "handlers"),
        ("MAR-INF/facts.json", "MAR-INF"),
        ("archive_entry.py", "archive_entry"),
        ("model-config.yaml", "model-config"),
        ("torch/__init__.py", "torch"),
        ("json.py", "hide Python's own module json"),
    ],
)
def test_names_that_are_needed_are_refused(
    digits_recipe: Recipe, tmp_path: Path, name: str, words: str
) -> None:
    root = write(tmp_path, name) / name.partition("/")[0]
    with pytest.raises(BuildError, match=words):
        travelling(digits_recipe.model_copy(update={"files": (root,)}))


def test_data_may_have_the_name_of_a_module(digits_recipe: Recipe, tmp_path: Path) -> None:
    write(tmp_path, "calendar/2026.txt", "json.txt")
    files = (tmp_path / "calendar", tmp_path / "json.txt")
    recipe = digits_recipe.model_copy(update={"files": files})
    assert names(recipe) == ["calendar/2026.txt", "json.txt"]


def test_two_of_one_name_are_refused(digits_recipe: Recipe, importable: Path) -> None:
    write(importable, "twice/__init__.py", "elsewhere/twice/data.txt")
    recipe = digits_recipe.model_copy(
        update={"task": "twice:Task", "files": (importable / "elsewhere" / "twice",)}
    )
    with pytest.raises(BuildError, match="would be named twice"):
        travelling(recipe)


def test_a_package_in_two_places_cannot_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("a", "b"):
        monkeypatch.syspath_prepend(write(tmp_path / place, f"spread/{place}.py"))
    with pytest.raises(BuildError, match="2 folders"):
        own_code("spread.a:Task")
    with pytest.raises(BuildError, match="can't travel"):
        own_code("__main__:Task")


def test_a_link_to_a_folder_is_refused(digits_recipe: Recipe, tmp_path: Path) -> None:
    write(tmp_path, "data/a.txt")
    (tmp_path / "data" / "loop").symlink_to(tmp_path)
    with pytest.raises(BuildError, match="link"):
        travelling(digits_recipe.model_copy(update={"files": (tmp_path / "data",)}))
