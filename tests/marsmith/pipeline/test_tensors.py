"""What is read from a model for a recipe of its bare tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from handlers.runtimes import Tensors
from marsmith.errors import BuildError, GateError
from marsmith.pipeline import tensors
from marsmith.pipeline.original import Prepared, prepare
from marsmith.recipe import reading
from marsmith.verify.arrays import rows

BATCH = {"x": torch.ones(2, 3)}


def test_a_model_that_keeps_something_between_requests_is_refused() -> None:
    kept = torch.zeros(2, 3)

    def remembering(batch: Tensors) -> Tensors:
        kept.add_(batch["x"])
        return {"sum": kept}

    with pytest.raises(BuildError, match="it keeps something"):
        tensors.outputs_of(remembering, BATCH)


def test_a_model_that_fails_is_told_with_its_shapes() -> None:
    def failing(batch: Tensors) -> Tensors:
        raise RuntimeError("no such size")

    with pytest.raises(BuildError, match=r"x \(2, 3\): no such size"):
        tensors.outputs_of(failing, BATCH)


def test_what_answers_the_same_again_is_taken_not_a_number_too() -> None:
    found = tensors.outputs_of(lambda b: {"y": b["x"] * float("nan"), "is": b["x"] > 0}, BATCH)
    assert found["y"].isnan().all()


# -- Data in files ---------------------------------------------------------------------------------

COPIED = pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's, of a script's copy


def affine() -> torch.nn.Module:
    module = torch.nn.Linear(3, 2)
    with torch.no_grad():
        module.weight.copy_(torch.arange(6.0).reshape(2, 3))
        module.bias.zero_()
    return module.eval()


def recipe(folder: Path, **expected: object) -> Path:
    """A recipe whose data a script has saved: what the model was given, and what it gave."""
    given = np.arange(15, dtype=np.float32).reshape(5, 3) / 10
    np.savez(folder / "given.npz", input=given)
    np.save(folder / "given.npy", given)
    gave = affine()(torch.from_numpy(given)).detach().numpy()
    np.savez(folder / "gave.npz", output=gave)
    np.savez(folder / "other.npz", output=gave + 0.1)
    torch.jit.script(affine()).save(folder / "model.pt")
    said = {
        "name": "affine", "task": "tensors", "source": {"torchscript": "model.pt"},
        "handler": {"inputs": {"input": {"shape": [3], "datatype": "FP32"}}},
        "evaluation": {"data": "given.npz", **expected}, "serving": {"batch_size": 2},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(said))
    return folder / "recipe.yaml"


def prepared(file: Path, work: Path) -> Prepared:
    (work / "work").mkdir(exist_ok=True)
    return prepare(reading.load(file), work, work / "work", lambda line: None)


@COPIED
@pytest.mark.parametrize("data", ["given.npz", "given.npy"])
def test_data_may_be_what_a_script_has_saved(tmp_path: Path, data: str) -> None:
    found = prepared(recipe(tmp_path, data=data, expected="gave.npz"), tmp_path)
    assert [rung.name for rung in found.rungs] == ["untouched", "original"]
    assert found.rungs[0].by == "what is in gave.npz"
    assert found.rungs[0].samples == 5
    assert found.provenance.data["evaluation"].startswith(f"{data} ")  # and its digest
    assert str(tmp_path) not in repr(found.provenance)
    assert found.original.difference.max_abs_error < 1e-6


@COPIED
def test_what_a_script_has_saved_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="item 0: output 'output' of the model"):
        prepared(recipe(tmp_path, expected="other.npz"), tmp_path)


def test_files_that_are_no_data_are_refused(tmp_path: Path) -> None:
    file = recipe(tmp_path)
    (tmp_path / "given.npz").unlink()
    with pytest.raises(BuildError, match=r"given\.npz can't be read: .*No such file"):
        prepared(file, tmp_path)
    np.savez(tmp_path / "given.npz", a=np.zeros((2, 3)), b=np.zeros(3))
    with pytest.raises(BuildError, match=r"a \(2, 3\), b \(3,\): the first dimension must be"):
        rows(tmp_path / "given.npz")
