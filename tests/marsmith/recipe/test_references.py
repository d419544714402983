"""What a "module:function" is made of."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from marsmith.errors import RecipeError
from marsmith.recipe.references import resolve, source_files
from tests.support.paths import ROOT


def test_a_change_of_what_it_imports_is_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "ours"
    for name, text in {
        "__init__.py": "",
        "models.py": "from . import layers\nimport json\ndef model(): pass",
        "layers.py": "def lazily():\n    from ours.deep.more import thing",
        "deep/__init__.py": "",
        "deep/more.py": "thing = 1",
        "others.py": "",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = {str(file.relative_to(package)) for file in source_files("ours.models:model")}
    assert found == {"__init__.py", "models.py", "layers.py", "deep/__init__.py", "deep/more.py"}


def test_a_file_alone_counts_those_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lone_model.py").write_text("import lone_data, torch\ndef model(): pass")
    (tmp_path / "lone_data.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    found = source_files("lone_model:model")
    assert [file.name for file in found] == ["lone_data.py", "lone_model.py"]


def test_one_package_may_import_from_another_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "trained/__init__.py": "",
        "trained/model.py": "from layered.blocks import Block\nimport numpy\ndef model(): pass",
        "layered/__init__.py": "",
        "layered/blocks.py": "class Block: pass",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = [str(file.relative_to(tmp_path)) for file in source_files("trained.model:model")]
    assert found == [
        "layered/__init__.py", "layered/blocks.py", "trained/__init__.py", "trained/model.py"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("reference", "name"),
    [("torch.nn.functional:cross_entropy", "functional.py"), ("json:loads", "__init__.py")],
)
def test_what_is_installed_is_one_file(reference: str, name: str) -> None:
    (found,) = source_files(reference)
    assert found.name == name


def test_the_examples_know_their_data() -> None:
    found = source_files("examples.scene_models:Detector")
    assert ROOT / "examples" / "scenes.py" in found


def test_nothing_is_executed_to_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "careful"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "data.py").write_text("def data():\n    from careful.script import side")
    (package / "script.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    found = source_files("careful.data:data")
    assert [file.name for file in found] == ["__init__.py", "data.py", "script.py"]


def test_ours_is_never_a_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import handlers.device\nfrom marsmith.verify import metrics\ndef data(): pass"
    (tmp_path / "lone_user.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert [file.name for file in source_files("lone_user:data")] == ["lone_user.py"]


def test_what_has_no_file_has_none() -> None:
    assert source_files("time:sleep") == []


def test_what_only_a_script_or_a_notebook_has_is_to_be_put_into_a_file() -> None:
    with pytest.raises(RecipeError, match="there is no 'my_net' in __main__") as caught:
        resolve("__main__:my_net")
    assert "'my_script:my_net' for my_script.py" in caught.value.hint


def test_a_function_in_a_zip_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "nets.zip", "w") as archive:
        archive.writestr("net_in_a_zip.py", "def make(): return 7")
    monkeypatch.syspath_prepend(tmp_path / "nets.zip")
    assert resolve("net_in_a_zip:make")() == 7
