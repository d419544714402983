"""The classic mistakes of a recipe, and of the code that it names: each is told by what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from marsmith.cli import commands, new

RECIPE = """\
name: little
task: image_classification
source: {factory: "little_model:model"}
assets: little_model:assets
handler: {labels: labels.json, resize: [32, 32]}
evaluation: {data: "little_model:data", metric: "little_model:measure"}
"""
DATA = """
def measure(answers, expected):
    return 1.0



def data():
    import io
    from PIL import Image
    body = io.BytesIO()
    Image.new("RGB", (32, 32)).save(body, "PNG")
    return [(body.getvalue(), "cat")] * 4
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    new.write("little", "image_classification", tmp_path)
    made = tmp_path / "little"
    (made / "little.yaml").write_text(RECIPE)
    with (made / "little_model.py").open("a") as file:
        file.write(DATA)
    monkeypatch.chdir(made)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for module in ("little_model", "little_measure"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return made


def told(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        commands.main(["build", "little.yaml", "--model-store", "store"])
    said = capsys.readouterr().err
    assert caught.value.code == 1
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert not list(Path("store").glob("*.mar"))
    return said[said.index("error: ") :]


# What is changed, into what, and what is said then.
RECIPE_MISTAKES = {
    "an unknown key": ("task:", "tsak: x\ntask:", "did you mean 'task'?"),
    "an unknown task": (
        "image_classification\n", "image_clasification\n", "did you mean 'image_classification'?",
    ),
    "no source": (
        'source: {factory: "little_model:model"}\n', "", "a mapping with one of factory",
    ),
    "no YAML": ("handler: {", "handler: {{[", "not YAML: line 5, column 50: expected"),
    "an unknown setting": ("resize: [32, 32]", "resise: [32, 32]", "did you mean 'resize'?"),
    "a value of another kind": ("resize: [32, 32]", "resize: big", "must be an integer or a list"),
    "no such module": ("little_model:model", "litle_model:model", "No module named 'litle_model'"),
    "no such function": ("little_model:model", "little_model:modle", "did you mean 'model'?"),
    "no module:function": ("little_model:model", "little_model.model", "as 'little_model:model'"),
    "an unknown metric": ("little_model:measure", "acuracy", "did you mean 'accuracy'?"),
    "an unknown runtime": ("evaluation:", "runtime: onx\nevaluation:", "did you mean 'onnx'?"),
    "no such checkpoint": (
        'model"}', 'model", checkpoint: w.safetensors}', "begins at the recipe's folder",
    ),
}  # fmt: skip
CODE_MISTAKES = {
    "the factory raises": (
        "return Net()", "raise ValueError('no weights')",
        "your code raised ValueError: no weights\n  little_model.py, line 31: raise ValueError",
    ),
    "forward raises": ("Tensor = self.", "Tensor = self.no.", "line 25: logits: torch.Tensor ="),
    "a syntax error": ("return Net()", "return Net(", "line 31: return Net(\n"),
    "an import error": (
        "import json\n", "import json\nimport not_there\n", "line 6: import not_there\n",
    ),
    "an import error inside": (
        "return Net()", "import not_there\n    return Net()", "line 31: import not_there\n",
    ),
    "a missing attribute": ("return Net()", "return nn.Nett()", "line 31: return nn.Nett()\n"),
    "no nn.Module": (
        "return Net()", "return Net().state_dict()", "returned OrderedDict, not an nn.Module",
    ),
    "nothing returned": ("return Net()", "Net()", "hint: return the module itself"),
    "a wrong input shape": ("nn.Conv2d(3, 8", "nn.Conv2d(1, 8", "line 24: pooled = torch.relu("),
    "a wrong number of labels": ("len(LABELS)", "5", "3 labels for 5 classes\nhint: "),
    "the metric raises": ("return 1.0", "return 1 / 0", "line 45: return 1 / 0\n"),
    "the metric is no number": ("return 1.0", "return 'good'", "'good', which is no number"),
    "data raises": ("    import io\n", "    open('x.csv')\n    import io\n", "open('x.csv')\n"),
    "data is empty": ("* 4", "* 0", "must return (request body: bytes, expected) pairs"),
    "assets raises": ('(folder / "lab', '(folder / "no" / "lab', "line 36: (folder /"),
    "assets writes nothing": (
        '(folder / "labels.json").write_text(json', "(json", "assets wrote no file",
    ),
}  # fmt: skip
CHECKPOINTS = {
    "of another model": (
        "torch.save(torch.nn.Linear(2, 3).state_dict(), 'w.pt')",
        "don't fit the model: features.weight (8, 3, 3, 3) is missing",
    ),
    "damaged": (
        "from pathlib import Path; Path('w.pt').write_text('PK damaged')", "it may be damaged",
    ),
    "a pickle of other things": (
        "import collections; torch.save({'a': collections.Counter('ab')}, 'w.pt')", "w.pt",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPE_MISTAKES)
def test_a_mistake_in_a_recipe(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong, words = RECIPE_MISTAKES[name]
    assert right in RECIPE
    (folder / "little.yaml").write_text(RECIPE.replace(right, wrong))
    assert words in told(capsys)


@pytest.mark.parametrize("name", CODE_MISTAKES)
def test_a_mistake_in_the_code(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong, words = CODE_MISTAKES[name]
    file = folder / "little_model.py"
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, wrong))
    assert words in told(capsys)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_mistake_in_a_checkpoint(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    written, words = CHECKPOINTS[name]
    exec(f"import torch; {written}")  # noqa: S102 - as a user's script does
    recipe = RECIPE.replace('model"}', 'model", checkpoint: w.pt}')
    (folder / "little.yaml").write_text(recipe)
    assert words in told(capsys)
