"""A handler of one's own travels in its archive: it serves where its folder is not."""

from __future__ import annotations

import os
import shutil
import textwrap
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from marsmith.archive.reading import inspect
from marsmith.errors import ArchiveError, BuildError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.original import configured, measured_on
from marsmith.recipe import reading
from marsmith.verify.ladder import Ladder
from tests.support.changed_archives import contents, summed

FILES = {
    "shades/__init__.py": "",
    "shades/net.py": """
        from torch import nn

        def model():
            return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        """,
    "shades/words/__init__.py": """
        from pathlib import Path

        NAMES = Path(__file__).with_name("names.txt").read_text("utf-8").split()
        """,
    "shades/words/names.txt": "dark bright\n",
    "shades/serving/task.py": """
        from handlers.tasks.image_classification import ImageClassification, ImageLabels
        from shades.words import NAMES

        class Shades(ImageClassification):
            def setup(self, folder):
                super().setup(folder)
                self.labels = [(folder / "tables" / "de" / f"{n}.txt").read_text() for n in NAMES]
        """,
    "tables/de/dark.txt": "dunkel",
    "tables/de/bright.txt": "hell",
    "shades.yaml": """
        name: shades
        task: shades.serving.task:Shades
        source: {factory: "shades.net:model"}
        handler: {resize: [2, 2]}
        files: [tables]
        """,
}


NEAREST = """
    from handlers.tasks.image_classification import ImageClassification

    class Nearest(ImageClassification):
        def setup(self, folder):
            from rapidfuzz.process import extractOne

            super().setup(folder)
            self.labels = [extractOne(each, ["dark", "bright"])[0] for each in ("drk", "brigt")]
    """


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    project = tmp_path / "project"
    for name, text in FILES.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(project)
    return project


def test_a_package_and_folders_serve_without_them(folder: Path, tmp_path: Path) -> None:
    recipe = reading.load(folder / "shades.yaml")
    build(recipe, tmp_path / "store")
    # What it was measured on is another when the task's code is.
    ladder = Ladder(configured(recipe), None, 1)
    before = measured_on(recipe, ladder)
    assert before == measured_on(recipe, ladder)
    (folder / "shades" / "words" / "names.txt").write_text("bright dark\n")
    assert before != measured_on(recipe, ladder)

    shutil.rmtree(folder)
    archive = tmp_path / "store" / "shades.mar"
    with zipfile.ZipFile(archive) as opened:
        assert {"shades/serving/task.py", "tables/de/dark.txt"} <= set(opened.namelist())
    with Harness(archive, env={"PYTHONPATH": os.fspath(tmp_path)}) as harness:
        example = harness.describe()["example"]
        (response,) = harness.predict([Request.raw(b"no image")])
        assert response.status == 415
        body = {"b64": example["body_base64"]}
        (response,) = harness.predict([Request.json({"data": body})])
        assert set(response.json()) == {"dunkel", "hell"}


def test_what_a_handler_declares_is_checked_as_it_loads(folder: Path, tmp_path: Path) -> None:
    (folder / "nearest.py").write_text(textwrap.dedent(NEAREST))
    recipe = reading.load(folder / "shades.yaml").model_copy(
        update={"name": "nearest", "task": "nearest:Nearest", "files": ()}
    )
    with pytest.raises(BuildError, match=r"nearest\.py imports 'rapidfuzz'"):
        build(recipe, tmp_path / "store")
    pin = f"rapidfuzz=={version('rapidfuzz')}"
    build(recipe.model_copy(update={"requirements": (pin,)}), tmp_path / "store")
    archive = tmp_path / "store" / "nearest.mar"
    assert inspect(archive)["manifest"]["model"]["requirementsFile"] == "requirements.txt"
    files = contents(archive)
    assert files["requirements.txt"].decode() == f"{pin}\n"
    others = b"rapidfuzz==1.0\nno-such==1\n"
    changed = summed({**files, "requirements.txt": others}, tmp_path / "nearest.mar")
    with pytest.raises(ArchiveError) as caught, Harness(changed):
        pass
    said = str(caught.value)
    assert f"rapidfuzz is {version('rapidfuzz')}, no-such is not installed" in said
    assert "pip install 'rapidfuzz==1.0' 'no-such==1'" in said
