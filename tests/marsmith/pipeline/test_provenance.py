"""Where a model comes from: the recipe, the source, the data and the commit, without a folder."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from marsmith.archive.reading import inspect
from marsmith.pipeline import provenance
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from tests.support import own_handlers

PROJECT = {
    "shade_net.py": """
        from torch import nn

        def make():
            return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        """,
    "shade.yaml": """
        name: shade
        task: image_classification
        source: {factory: "shade_net:make"}
        handler: {resize: [2, 2]}
        """,
}
CARD = "---\nlicense: apache-2.0\ndatasets:\n- squad\n- natural_questions\n---\n# A model\n"


def git(folder: Path, *command: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", *who, *command], cwd=folder, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    own_handlers.write(folder, PROJECT)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def checkout(project: Path) -> Path:
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "all")
    return project


def test_a_recipe_and_its_files_are_hashed_and_no_folder_is_named(project: Path) -> None:
    (project / "model.pt").write_bytes(b"weights")
    (project / "traced.yaml").write_text(
        "{name: traced, task: image_classification, source: {torchscript: model.pt}}"
    )
    found = provenance.of(reading.load(project / "traced.yaml"))
    assert found.recipe == hashlib.sha256((project / "traced.yaml").read_bytes()).hexdigest()
    file = {"name": "model.pt", "sha256": hashlib.sha256(b"weights").hexdigest()}
    settings: dict[str, object] = {"constants": {}, "state": {}, "reset": []}
    assert found.source == {"kind": "torchscript", "torchscript": file, **settings}
    assert (found.commit, found.clean) == (None, None)
    assert str(project) not in found.model_dump_json()


def test_what_a_models_card_says_is_known(project: Path) -> None:
    recipe = reading.load(project / "shade.yaml")
    folder = project / "weights"
    folder.mkdir()
    for card, licence in ((CARD, "apache-2.0"), ("# no front matter\n---\n", ""), ("---\n[\n", "")):
        (folder / "README.md").write_text(card)
        source = recipe.source.model_copy(update={"checkpoint": folder})
        found = provenance.of(recipe.model_copy(update={"source": source}))
        assert found.licence == licence
        assert found.datasets == (("squad", "natural_questions") if licence else ())


def test_a_recipe_without_a_file_is_known_by_what_it_says() -> None:
    said = {"name": "shade", "task": "image_classification", "handler": {"resize": [2, 2]}}
    digests = []
    for amount in (0.5, 0.5, 0.6):
        passes = [{"prune_unstructured": {"amount": amount}}]
        recipe = reading.load({**said, "source": {"factory": "shade_net:make"}, "passes": passes})
        digests.append(provenance.of(recipe).recipe)
    assert digests[0] == digests[1] != digests[2]


def test_the_commit_is_said_and_whether_all_is_as_it_has_it(checkout: Path) -> None:
    def clean() -> bool | None:
        found = provenance.of(reading.load(checkout / "shade.yaml"))
        assert found.commit == git(checkout, "rev-parse", "HEAD")
        return found.clean

    assert clean() is True
    (checkout / "left_by_a_build.mar").touch()
    assert clean() is True
    (checkout / "shade_net.py").write_text("# changed\n")
    assert clean() is False
    git(checkout, "checkout", "-q", ".")
    git(checkout, "rm", "-q", "--cached", "shade.yaml")
    git(checkout, "commit", "-q", "-m", "no recipe")
    assert clean() is False


def test_two_builds_in_one_checkout_give_equal_archives(checkout: Path) -> None:
    """The second finds what the first has left, which git doesn't know."""
    found = []
    for store in ("one", "two"):
        build(reading.load(checkout / "shade.yaml"), checkout / store)
        found.append(inspect(checkout / store / "shade.mar"))
    assert found[0]["sha256"] == found[1]["sha256"]
    origin = found[0]["facts"]["provenance"]
    assert (origin["commit"], origin["clean"]) == (git(checkout, "rev-parse", "HEAD"), True)
    assert str(checkout) not in str(found[0]["facts"])
