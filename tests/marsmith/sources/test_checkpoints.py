"""Checkpoints as training loops and other people save them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from marsmith.errors import BuildError
from marsmith.sources import _checkpoints


class Net(torch.nn.Module):
    """Two layers, a buffer, and a weight that is tied."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
        self.head = torch.nn.Linear(4, classes)
        self.again = self.head


State = dict[str, torch.Tensor]


def weights(seed: int = 1) -> State:
    torch.manual_seed(seed)
    return Net().state_dict()


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def loaded(path: Path, key: str | None = None, lines: list[str] | None = None) -> State:
    module = Net()
    told: list[str] = [] if lines is None else lines
    _checkpoints.load(module, path, key, told.append)
    return module.state_dict()


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


STATE = weights()
OPTIMISER = {"state": {0: {"exp_avg": torch.zeros(4, 4), "step": torch.tensor(3.0)}}}


@pytest.mark.parametrize(
    "held",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3, "optimizer": OPTIMISER},
        {"model_state_dict": under("module.", STATE), "optimizer_state_dict": OPTIMISER},
        under("_orig_mod.", STATE),
        under("module._orig_mod.", STATE),
        {"model": {name.replace("body.", "body._orig_mod."): x for name, x in STATE.items()}},
        {
            "state_dict": under("model.", STATE) | {"criterion.weight": torch.ones(3)},
            "pytorch-lightning_version": "2.5.0",
            "hyper_parameters": {"lr": 0.1},
        },
        {"n_averaged": torch.tensor(7), **under("module.", STATE)},
        {name: tensor for name, tensor in STATE.items() if not name.startswith("again")},
        {name: tensor for name, tensor in STATE.items() if not name.startswith("head")},
    ],
    ids=[
        "plain",
        "loop",
        "ddp",
        "compiled",
        "both",
        "a part compiled",
        "lightning",
        "swa",
        "tied",
        "tied, the other",
    ],
)
def test_the_modules_own_weights_are_found(tmp_path: Path, held: dict[str, Any]) -> None:
    torch.save(held, tmp_path / "last.ckpt")
    assert same(loaded(tmp_path / "last.ckpt"), STATE)


@pytest.mark.parametrize(
    ("more", "said"), [({}, ""), ({"x": torch.ones(1)}, "; not the model's: 1 more")]
)
def test_where_they_were_is_told(tmp_path: Path, more: State, said: str) -> None:
    torch.save({"state_dict": under("net.", STATE), **more}, tmp_path / "last.pt")
    lines: list[str] = []
    loaded(tmp_path / "last.pt", lines=lines)
    assert lines == [f"the weights are under 'state_dict.net'{said}"]


@pytest.mark.parametrize(
    ("held", "keys"),
    [
        ({"state_dict": STATE, "state_dict_ema": weights(2)}, ("state_dict", "state_dict_ema")),
        ({**under("student.", STATE), **under("teacher.", weights(2))}, ("student", "teacher")),
    ],
)
def test_of_several_one_must_be_chosen(
    tmp_path: Path, held: dict[str, Any], keys: tuple[str, str]
) -> None:
    torch.save(held, tmp_path / "last.pt")
    with pytest.raises(BuildError, match=f"several weights that fit: {keys[0]}, {keys[1]}"):
        loaded(tmp_path / "last.pt")
    assert same(loaded(tmp_path / "last.pt", keys[0]), STATE)
    assert same(loaded(tmp_path / "last.pt", keys[1]), weights(2))
    with pytest.raises(BuildError, match="nothing under 'none'") as caught:
        loaded(tmp_path / "last.pt", "none")
    assert f"{keys[0]}, {keys[1]}" in caught.value.hint


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    state = {name: x.clone() for name, x in STATE.items() if not name.startswith("again")}
    places = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(state)}
    for file in set(places.values()):
        save_file({name: x for name, x in state.items() if places[name] == file}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert same(loaded(index), STATE)
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(BuildError, match=r"names model-1\.safetensors, which is not beside it"):
        loaded(index)
    index.write_text("[]")
    with pytest.raises(BuildError, match="no 'weight_map'"):
        loaded(index)


def renamed(state: State) -> State:
    return {name.replace("head", "heads"): tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (Net(5).state_dict(), r"head\.weight is \(5, 4\), the model's \(3, 4\)"),
        (
            {k: v for k, v in renamed(STATE).items() if not k.startswith("again")},
            r"head\.weight \(3, 4\) is missing; there is heads\.weight \(3, 4\)",
        ),
        ({**STATE, "more.weight": torch.ones(1)}, r"more\.weight is not the model's"),
        ({"state_dict": {"a": torch.ones(2)}}, r"is missing.*, \d+ more"),
    ],
)
def test_a_misfit_says_what_is_nearest(tmp_path: Path, held: dict[str, Any], words: str) -> None:
    torch.save(held, tmp_path / "last.pt")
    with pytest.raises(BuildError, match=words):
        loaded(tmp_path / "last.pt")


def test_a_module_may_know_older_names(tmp_path: Path) -> None:
    class Renaming(torch.nn.Linear):
        def _load_from_state_dict(self, state: State, prefix: str, *rest: Any) -> None:
            state[f"{prefix}weight"] = state.pop(f"{prefix}w")
            super()._load_from_state_dict(state, prefix, *rest)

    torch.save({"w": torch.ones(1, 2), "bias": torch.zeros(1)}, tmp_path / "old.pt")
    module = Renaming(2, 1)
    _checkpoints.load(module, tmp_path / "old.pt", None, lambda line: None)
    assert module.weight.tolist() == [[1.0, 1.0]]


def test_a_torchscript_archive_is_called_one(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 1)).save(tmp_path / "model.pt")
    with pytest.raises(BuildError) as caught:
        loaded(tmp_path / "model.pt")
    assert "torchscript" in caught.value.hint


NAMES = st.sampled_from(["state_dict", "model", "module", "net", "ema", "_orig_mod", "x.y"])


@settings(deadline=None)
@given(path=st.lists(NAMES, max_size=3), before=st.lists(NAMES, max_size=3))
def test_wherever_they_are_they_are_found(
    tmp_path_factory: pytest.TempPathFactory, path: list[str], before: list[str]
) -> None:
    held: Any = under("".join(f"{name}." for name in before), STATE)
    for name in path:
        held = {name: held, "epoch": 1}
    file = tmp_path_factory.mktemp("checkpoint") / "last.pt"
    torch.save(held, file)
    assert same(loaded(file), STATE)


def test_a_module_whose_first_weight_is_tied(tmp_path: Path) -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte = torch.nn.Linear(2, 2, bias=False)
            self.lm_head = self.wte

    module = Tied()
    save_file({"lm_head.weight": torch.full((2, 2), 3.0)}, tmp_path / "m.safetensors")
    _checkpoints.load(module, tmp_path / "m.safetensors", None, lambda line: None)
    assert module.wte.weight.tolist() == [[3.0, 3.0], [3.0, 3.0]]
