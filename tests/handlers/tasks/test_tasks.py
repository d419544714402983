"""A task is found by its module's name, or as "module:Class"."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers import tasks
from handlers.errors import LoadError
from handlers.tasks.image_classification import ImageClassification

TASK = """
from handlers.tasks.image_classification import ImageClassification

class Mine(ImageClassification): ...
class Yours(ImageClassification): ...
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write a module `own_task` and make it importable, for one test."""
    file = tmp_path / "own_task.py"
    file.write_text(TASK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_task", raising=False)
    yield file
    sys.modules.pop("own_task", None)


def test_a_task_is_the_name_of_its_module() -> None:
    assert tasks.find("image_classification") is ImageClassification


def test_only_tasks_are_known() -> None:
    known = tasks.known()
    assert "image_classification" in known
    assert not {"base", "payload", "archive_entry", "runtimes"} & set(known)


def test_a_class_of_ones_own(own: Path) -> None:
    assert tasks.find("own_task:Mine").__name__ == "Mine"


@pytest.mark.parametrize(
    "name",
    ["image_clasification", "", "archive_entry", "../base", "os", "tabular:", "base", "payload",
     "image_handler", "runtimes"],
)  # fmt: skip
def test_what_is_no_task_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(LoadError, match=f"'{name}' is not allowed in 'task'; .*tabular"):
        tasks.find(name)


def test_the_nearest_task_is_named() -> None:
    with pytest.raises(LoadError, match="did you mean 'tabular'"):
        tasks.find("tabluar")


@pytest.mark.parametrize("name", ["own_task:Handler", "own_task:Theirs", "own_task:ImageCl"])
def test_a_class_that_is_not_there_is_refused(own: Path, name: str) -> None:
    with pytest.raises(LoadError, match="it defines 0"):
        tasks.find(name)


@pytest.mark.parametrize("name", ["no.such.module:Mine", ":Mine", ".own_task:Mine"])
def test_a_module_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(LoadError, match="can't be imported"):
        tasks.find(name)


@pytest.mark.parametrize("code", ["import no_such_engine", "class :", "1 / 0"])
def test_a_module_that_fails_is_a_load_error_with_its_reason(own: Path, code: str) -> None:
    own.write_text(code)
    with pytest.raises(LoadError, match=r"own_task:Mine.*(no_such_engine|syntax|division)"):
        tasks.find("own_task:Mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [("from handlers.base import Handler as Kind", "Mine isn't one, because it lacks answer, "),
     ("from handlers.images.handler import ImageHandler as Kind",
      "Mine isn't one, because it lacks answer"),
     ("from handlers.images.handler import ImageHandler as Kind\n"
      "answer = lambda *args: []", "Mine must have an 'Answer'")],
)  # fmt: skip
def test_an_unfinished_task_says_what_it_lacks(own: Path, text: str, message: str) -> None:
    body = "    answer = answer\n" if "lambda" in text else "    ...\n"
    own.write_text(f"{text}\nclass Mine(Kind):\n{body}")
    with pytest.raises(LoadError, match=message):
        tasks.find("own_task:Mine")
