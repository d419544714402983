from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_model

from examples.digits import model
from marsmith.cache import Cache
from marsmith.errors import BuildError, RecipeError
from marsmith.sources.factory import Factory

FACTORY = "examples.digits:model"


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def load(folder: Path, **settings: object) -> torch.nn.Module:
    module = Factory.model_validate({"factory": FACTORY, **settings}).load(
        Cache(folder), lambda line: None
    )
    assert isinstance(module, torch.nn.Module)
    return module


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_checkpoint_is_loaded(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(7)
    wanted, path = model(), tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(wanted.state_dict(), path)
    else:
        save_model(wanted, str(path))
    loaded = load(tmp_path, checkpoint=path)
    assert not loaded.training
    for one, other in zip(loaded.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(one, other)


def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path: Path) -> None:
    target = tmp_path / "it ran"
    torch.save({"a": Bomb(target)}, tmp_path / "bomb.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb(target)))
    for name in ("bomb.pt", "plain.pt"):
        with pytest.raises(BuildError, match="not a plain state_dict"):
            load(tmp_path, checkpoint=tmp_path / name)
    assert not target.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_damaged_checkpoint_is_said(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(b"nothing of use")
    with pytest.raises(BuildError, match=path.name):
        load(tmp_path, checkpoint=path)


def test_weights_that_do_not_fit_are_said(tmp_path: Path) -> None:
    save_model(model(width=8), str(tmp_path / "small.safetensors"))
    with pytest.raises(BuildError, match="don't fit"):
        load(tmp_path, checkpoint=tmp_path / "small.safetensors")


def test_something_else_than_weights_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(BuildError, match="names to tensors"):
        load(tmp_path, checkpoint=tmp_path / "list.pt")


@pytest.mark.parametrize(
    "reference", ["no_such_module:f", "examples.digits:nope", "examples.digits"]
)
def test_a_factory_that_is_not_there_is_said(tmp_path: Path, reference: str) -> None:
    with pytest.raises(RecipeError, match=reference.partition(":")[0]):
        Factory(factory=reference).load(Cache(tmp_path), lambda line: None)


def test_arguments_that_the_factory_does_not_take_are_said(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"digits:model can't be called with .*'wide'") as caught:
        load(tmp_path, arguments={"wide": 2})
    assert "arguments" in caught.value.hint


def test_arguments_reach_the_factory_and_weights_are_seeded(tmp_path: Path) -> None:
    one, other = (load(tmp_path, arguments={"width": 4}) for _ in range(2))
    weight = one.get_parameter("classifier.weight")
    assert weight.shape == (10, 128)
    assert torch.equal(weight, other.get_parameter("classifier.weight"))


def test_checkpoints_as_training_loops_save_them_are_read(tmp_path: Path) -> None:
    wanted = model()
    state = {f"module.{name}": value for name, value in wanted.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "last.pt")
    loaded = load(tmp_path, checkpoint=tmp_path / "last.pt")
    weight = loaded.get_parameter("classifier.weight")
    assert torch.equal(weight, wanted.get_parameter("classifier.weight"))


def test_weights_are_trained_once_until_their_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_lesson.py").write_text(
        "import torch, own_data\n"
        "def model(size=1): return torch.nn.Linear(size, 1)\n"
        "def train(module): torch.nn.init.constant_(module.weight, own_data.VALUE)\n"
    )
    (tmp_path / "own_data.py").write_text("VALUE = 1.5")
    monkeypatch.syspath_prepend(tmp_path)
    cache, lines = Cache(tmp_path / "cache"), list[str]()
    source = Factory(factory="own_lesson:model", train="own_lesson:train")
    weights = [source.load(cache, lines.append).get_parameter("weight").item() for _ in range(2)]
    assert weights == [1.5, 1.5]
    assert lines == [
        "train with own_lesson:train",
        "load the weights that own_lesson:train trained before",
    ]
    (tmp_path / "own_data.py").write_text("VALUE = 1.5  # of something else")
    source.load(cache, lines.append)
    Factory(factory="own_lesson:model", arguments={"size": 2}, train="own_lesson:train").load(
        cache, lines.append
    )
    assert lines[2:] == ["train with own_lesson:train"] * 2


def test_a_training_that_fails_keeps_nothing(tmp_path: Path) -> None:
    source = Factory(factory=FACTORY, train="examples.digits:split")  # takes no module
    with pytest.raises(TypeError):
        source.load(Cache(tmp_path), lambda line: None)
    assert list(tmp_path.iterdir()) == []
