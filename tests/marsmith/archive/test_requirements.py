"""A handler's further packages are declared, pinned and installed, or the build says what isn't."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from marsmith.archive import requirements
from marsmith.archive.contents import travelling
from marsmith.errors import BuildError, RecipeError
from marsmith.recipe import reading
from marsmith.recipe.sections import Recipe
from tests.support.own_handlers import write

FILES = {
    "nearby/__init__.py": "",
    "nearby/task.py": """
        import json
        import numpy
        import torch
        from handlers.tasks.image_classification import ImageClassification
        from . import names

        class Nearby(ImageClassification):
            pass
        """,
    "nearby/names.py": """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import pandas
        try:
            import no_such_speedup
        except ImportError:
            no_such_speedup = None

        def nearest(name):
            from nearby.deep.inside import best
            return best(name)
        """,
    "nearby/deep/inside.py": "def best(name):\n    import json.decoder\n",
    "nearby/unused.py": "import sklearn\n",
}
INSIDE = "nearby/deep/inside.py"


@pytest.fixture
def recipe(tmp_path: Path, digits_recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    write(tmp_path, FILES)
    monkeypatch.syspath_prepend(tmp_path)
    return digits_recipe.model_copy(update={"task": "nearby.task:Nearby"})


def check(recipe: Recipe, engines: tuple[str, ...] = ("torchscript",)) -> None:
    requirements.check(recipe, travelling(recipe), engines)


def importing(folder: Path, statement: str) -> None:
    write(folder, {INSIDE: f"def best(name):\n    {statement}\n"})


def test_what_every_server_has_needs_no_declaration(recipe: Recipe) -> None:
    check(recipe)


def test_an_import_deep_in_a_function_is_refused_by_name(recipe: Recipe, tmp_path: Path) -> None:
    importing(tmp_path, "from rapidfuzz.process import extractOne")
    with pytest.raises(BuildError, match=r"nearby/deep/inside\.py imports 'rapidfuzz'") as caught:
        check(recipe)
    pin = version("rapidfuzz")
    assert caught.value.hint.lower() == f"declare rapidfuzz=={pin}"
    check(recipe.model_copy(update={"requirements": (f"RapidFuzz=={pin}",)}))


def test_a_distribution_of_another_name_is_found(recipe: Recipe, tmp_path: Path) -> None:
    importing(tmp_path, "import sklearn.svm")
    with pytest.raises(BuildError) as caught:
        check(recipe)
    assert caught.value.hint == f"declare scikit-learn=={version('scikit-learn')}"


def test_an_optional_import_that_is_installed_counts(recipe: Recipe, tmp_path: Path) -> None:
    importing(tmp_path, "try:\n        import regex\n    except ImportError:\n        regex = None")
    with pytest.raises(BuildError, match="imports 'regex'"):
        check(recipe)


def test_the_engine_counts_where_every_candidate_has_it(recipe: Recipe, tmp_path: Path) -> None:
    importing(tmp_path, "import onnxruntime")
    check(recipe, ("onnx",))
    with pytest.raises(BuildError, match="onnxruntime"):
        check(recipe, ("onnx", "torchscript"))


def test_a_file_of_ones_own_that_stays_behind_is_named(recipe: Recipe, tmp_path: Path) -> None:
    importing(tmp_path, "import left_behind")
    with pytest.raises(BuildError, match="no package that is installed here brings it"):
        check(recipe)
    write(tmp_path, {"left_behind.py": "import json\n"})
    with pytest.raises(BuildError, match=r"left_behind\.py doesn't travel") as caught:
        check(recipe)
    assert "'files'" in caught.value.hint
    check(recipe.model_copy(update={"files": (tmp_path / "left_behind.py",)}))


@pytest.mark.parametrize(
    ("pin", "words"),
    [
        ("rapidfuzz==0.0.1", f"declares rapidfuzz 0.0.1, and {version('rapidfuzz')} is installed"),
        ("no-such-package==1.0", "no-such-package, which is not installed"),
    ],
)
def test_what_is_declared_is_what_is_installed(digits_recipe: Recipe, pin: str, words: str) -> None:
    with pytest.raises(BuildError, match=words) as caught:
        check(digits_recipe.model_copy(update={"requirements": (pin,)}))
    assert f"pip install {pin}" in caught.value.hint


def test_a_local_version_is_the_version(digits_recipe: Recipe) -> None:
    plain = version("torch").partition("+")[0]
    check(digits_recipe.model_copy(update={"requirements": (f"torch=={plain}",)}))


@pytest.mark.parametrize(
    ("requirements", "words"),
    [
        (["rapidfuzz"], "must be a pin, such as rapidfuzz==3.14.6"),
        (["rapidfuzz>=3"], "must be a pin"),
        (["rapidfuzz==3.*"], "must be a pin"),
        (["rapidfuzz==3; python_version > '3'"], "must be a pin"),
        (["a b==1"], "must be a pin"),
        (["rapid.fuzz==3", "Rapid_Fuzz==3"], "rapid-fuzz must be named once"),
    ],
)
def test_only_pins_are_requirements(requirements: list[str], words: str) -> None:
    recipe = {
        "name": "pinned", "task": "image_classification", "requirements": requirements,
        "source": {"torchscript": "none.pt"},
    }  # fmt: skip
    with pytest.raises(RecipeError, match=words):
        reading.load(recipe)
