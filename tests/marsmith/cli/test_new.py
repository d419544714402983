"""What `marsmith new` writes builds and answers as it stands."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from handlers import tasks
from marsmith.cli import making, new
from marsmith.errors import MarsmithError, UnsupportedError
from marsmith.harness.wire import FormField, Request
from marsmith.harness.worker import Harness
from marsmith.pipeline import original
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from tests.support.paths import ROOT


def test_every_task_has_its_templates() -> None:
    without = set(tasks.known()) - set(new.tasks())
    assert not without, f"a task needs its templates in {new.TEMPLATES}"
    for task in new.tasks():
        for kind in ("yaml", "model.py", "handler.py"):
            assert (new.TEMPLATES / f"{task}.{kind}.j2").is_file()


@pytest.mark.parametrize("task", new.tasks())
def test_a_handler_of_ones_own_is_short_and_changes_something(task: str, tmp_path: Path) -> None:
    recipe, model, handler = new.write(f"own-{task}", task, tmp_path, custom=True)
    assert handler.read_text("utf-8").count("\n") < 30
    assert model.read_text("utf-8").count("\n") < 80
    prepared = original.prepare(
        reading.load(recipe), tmp_path / "kept", tmp_path, lambda line: None
    )
    own, usual = type(prepared.handler), tasks.find(task)
    assert issubclass(own, usual)
    assert own.answer is not usual.answer or own.decode is not usual.decode


def test_a_handler_of_ones_own_serves_without_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    written, *_ = new.write("kept", "image_classification", home, custom=True)
    build(reading.load(written), tmp_path / "store")
    shutil.rmtree(home)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    archive = tmp_path / "store" / "kept.mar"
    with zipfile.ZipFile(archive) as opened:
        assert "kept_handler.py" in opened.namelist()
        assert "kept_model.py" not in opened.namelist()  # a server has no need of it
    with Harness(archive, env={"PYTHONPATH": os.fspath(tmp_path / "elsewhere")}) as harness:
        body = base64.b64decode(harness.describe()["example"]["body_base64"])
        form: dict[str, FormField] = {"data": body, "at_least": "0.99"}
        (all_of_them, none) = (
            harness.predict([request])[0].json()
            for request in (Request.raw(body), Request.form(form))
        )
    assert set(all_of_them) == {"cat", "dog", "horse"}
    assert none == {}


def test_the_command_says_what_comes_next(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "marsmith.cli", "new", "flowers"]
    command += ["--task", "image_classification"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert b"next: marsmith build flowers/flowers.yaml" in done.stdout
    written = sorted(file.name for file in (tmp_path / "flowers").iterdir())
    assert written == ["flowers.yaml", "flowers_model.py"]


def test_what_is_missing_is_said_at_once_and_before_a_build_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.chdir(tmp_path)
    making.new("texts", "text_classification")
    first, second, *_ = capsys.readouterr().out.partition("next: ")[2].splitlines()
    assert first == "pip install 'marsmith[text]'"
    assert second.strip() == "marsmith build texts/texts.yaml"
    steps: list[str] = []
    with pytest.raises(UnsupportedError) as caught:
        build(reading.load(tmp_path / "texts" / "texts.yaml"), tmp_path / "store", steps.append)
    assert caught.value.message == "tokenizers is not installed, which text_classification needs"
    assert caught.value.hint == first
    assert steps == []


@pytest.mark.parametrize("name", ["3d", "a b", "", "../a", "tokenise", "a.b"])
def test_names_that_cannot_be_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(MarsmithError, match="model's name"):
        new.write(name, "image_classification", tmp_path)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    new.write("taken", "image_classification", tmp_path)
    with pytest.raises(MarsmithError, match="not empty"):
        new.write("taken", "image_classification", tmp_path)


def test_an_unknown_task_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(MarsmithError, match="did you mean 'image_classification'"):
        new.write("a", "image_clasification", tmp_path)
