"""Pickles are read without running them, and what they name is told."""

from __future__ import annotations

import argparse
import enum
import os
import pathlib
import pickle
import tracemalloc
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marsmith.errors import BuildError
from marsmith.sources import _checkpoints, _pickles


class Loud(torch.nn.Module):
    """Says when it is made, and when its state is set: a reader must do neither."""

    made = 0

    def __init__(self, wide: int = 3) -> None:
        super().__init__()
        type(self).made += 1
        self.layer = torch.nn.Linear(2, wide)
        self.norm = torch.nn.BatchNorm1d(wide)
        self.register_buffer("grid", torch.arange(3), persistent=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).made += 1
        torch.nn.Module.__setstate__(self, state)


class Colour(enum.Enum):
    RED = 1


class Settings(dict[str, object]):
    """A dict with attributes, as libraries for settings have them."""

    def __init__(self, **given: object) -> None:
        super().__init__(given)
        self.frozen = True


class Steps(list[int]):
    pass


class Calls:
    """A pickle that calls a function with arguments."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.what = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.what


def loaded(path: Path, key: str | None = None) -> tuple[dict[str, torch.Tensor], list[str]]:
    module, lines = Loud(), list[str]()
    _checkpoints.load(module, path, key, lines.append)
    return module.state_dict(), lines


def filled(value: float) -> Loud:
    module = Loud()
    torch.nn.init.constant_(module.layer.weight, value)
    return module


HELD: dict[str, Callable[[Loud], object]] = {
    "whole": lambda net: net,
    "in parallel": torch.nn.DataParallel,
    "whole, among others": lambda net: {"model": net, "optimizer": {}, "best": np.float64(0.5)},
    "lightning": lambda net: {
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{name}": each for name, each in net.state_dict().items()},
        "hyper_parameters": {
            "args": argparse.Namespace(lr=0.1, where=pathlib.Path("data"), colour=Colour.RED),
            "act": torch.nn.functional.relu,
            "loss": torch.nn.CrossEntropyLoss(),
            "backbone": net,
        },
        "callbacks": {Colour: defaultdict(list, {"a": [1]})},
    },
    "timm": lambda net: {
        "arch": "loud",
        "state_dict": net.state_dict(),
        "args": argparse.Namespace(lr=0.1),
        "settings": Settings(a=Steps([1, 2])),
    },
}


@pytest.mark.parametrize("make", HELD.values(), ids=HELD)
def test_weights_are_read_and_no_object_is_made(
    tmp_path: Path, make: Callable[[Loud], object]
) -> None:
    net = filled(0.5)
    torch.save(make(net), tmp_path / "last.ckpt")
    before = Loud.made
    state, lines = loaded(tmp_path / "last.ckpt")
    assert Loud.made == before + 1  # the test's own
    assert all(torch.equal(state[name], each) for name, each in net.state_dict().items())
    assert "without what last.ckpt has of" in lines[0]


def test_averaged_weights_are_chosen(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(filled(2.0))
    held = {
        "timm": ({"state_dict": filled(1.0).state_dict(), "args": argparse.Namespace(lr=1),
                  "state_dict_ema": filled(2.0).state_dict()}, "state_dict_ema"),
        "whole": ({"model": filled(1.0), "ema": filled(2.0), "updates": 7}, "ema"),
        "ema_pytorch": ({"initted": torch.tensor(True), "step": torch.tensor(3)}
                        | {f"online_model.{k}": v for k, v in filled(1.0).state_dict().items()}
                        | {f"ema_model.{k}": v for k, v in filled(2.0).state_dict().items()},
                        "ema_model"),
        "swa": ({"model": filled(1.0).state_dict(), "swa": averaged.state_dict()}, "swa"),
        "lightning": ({"state_dict": filled(2.0).state_dict(),
                       "current_model_state": filled(1.0).state_dict()}, "state_dict"),
    }  # fmt: skip
    for name, (made, key) in held.items():
        torch.save(made, tmp_path / f"{name}.pt")
        with pytest.raises(BuildError, match=f"several weights that fit: .*{key}"):
            loaded(tmp_path / f"{name}.pt")
        state, _ = loaded(tmp_path / f"{name}.pt", key)
        assert state["layer.weight"].unique().tolist() == [2.0], name


def harm(target: Path) -> dict[str, bytes]:
    """Pickles that would make a folder, or write a file, if they were run."""
    named = f"(S'{target}'\ntR."
    return {
        "mkdir": pickle.dumps(Calls(os.mkdir, str(target)), 2),
        "system": f"cos\nsystem\n(S'mkdir {target}'\ntR.".encode(),
        "eval": b"cbuiltins\neval\n(S'__import__(\"os\")'\ntR.",
        "behind torch": b"\x80\x04\x8c\x13torch.serialization\x8c\x08os.mkdir\x93" + named.encode(),
        "computed": b"\x80\x04Nq\x010h\x01\x8c\x05mkdir\x93" + named.encode(),
        "by its number": b"\x80\x02\x82\x01" + named.encode(),
        "old names": f"c__builtin__\neval\n{named}".encode(),
        "inst": f"(S'{target}'\nios\nmkdir\n.".encode(),
    }


@pytest.mark.parametrize("name", sorted(harm(Path())))
def test_what_does_harm_is_named_and_does_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(harm(tmp_path / "made")[name])
    assert _pickles.scan(path).harmful
    with pytest.raises(BuildError, match="not a plain state_dict"):
        loaded(path)
    assert not (tmp_path / "made").exists()


def test_harm_in_a_file_of_torchs_is_named(tmp_path: Path) -> None:
    state = {"state_dict": Loud().state_dict(), "more": Calls(os.mkdir, str(tmp_path / "made"))}
    torch.save(state, tmp_path / "last.pt")
    with pytest.raises(BuildError, match=r"it names (posix|nt)\.mkdir, which no weights need"):
        loaded(tmp_path / "last.pt")
    assert not (tmp_path / "made").exists()


def test_a_function_that_is_not_known_as_harmful_is_not_called_either(tmp_path: Path) -> None:
    target = tmp_path / "made"
    state = {"state_dict": Loud().state_dict(), "more": Calls(torch.save, 1, str(target))}
    torch.save(state, tmp_path / "last.pt")
    loaded(tmp_path / "last.pt")
    assert not target.exists()


def test_names_and_calls_are_told_in_every_form(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        held = (argparse.Namespace(a=1), Colour.RED, Colour)
        path.write_bytes(pickle.dumps(held, protocol))
        found = _pickles.scan(path)
        assert {"argparse.Namespace", f"{__name__}.Colour"} <= set(found.names)
        assert f"{__name__}.Colour" in found.called
        assert not found.harmful
        assert not found.damaged
    for new in (True, False):
        torch.save(Loud().state_dict(), path, _use_new_zipfile_serialization=new)
        assert _pickles.unknown(_pickles.scan(path)) == []
    path.write_bytes(pickle.dumps(argparse.Namespace(a=1))[:-3])
    assert _pickles.scan(path).damaged


def test_a_module_that_is_too_old_to_be_read_so_says_what_to_do(tmp_path: Path) -> None:
    torch.save(filled(1.0), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(BuildError, match="can't be read without running it") as caught:
        loaded(tmp_path / "old.pt")
    assert f"marsmith unpickle --i-trust-this {tmp_path / 'old.pt'} --out" in caught.value.hint


def zipped(path: Path, *pickles: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip as torch writes it, whose pickles have one name."""
    with zipfile.ZipFile(path, "w", method) as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in pickles:
            made.writestr("last/data.pkl", each)
    return path


def test_of_two_pickles_of_one_name_both_are_read(tmp_path: Path) -> None:
    harmful, plain = pickle.dumps(Calls(os.mkdir, "x")), pickle.dumps({"a": 1})
    for both in ((harmful, plain), (plain, harmful)):
        assert _pickles.scan(zipped(tmp_path / "last.pt", *both)).harmful


def test_what_cannot_be_unpacked_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = zipped(tmp_path / "last.pt", pickle.dumps({"a": 1})).read_bytes()
    for place in (2, 12, 40, whole.index(b"PK\1\2") + 4, whole.index(b"PK\1\2") + 45):
        path = tmp_path / f"{place}.pt"
        path.write_bytes(whole[:place] + b"\xff\xff\xff" + whole[place + 3 :])
        assert _pickles.is_pickle(path)
        _pickles.scan(path)
    monkeypatch.setattr(_pickles, "MOST_BYTES", 1000)
    assert _pickles.scan(zipped(tmp_path / "bomb.pt", pickle.dumps("x" * 1000))).damaged
    assert not _pickles.scan(zipped(tmp_path / "small.pt", pickle.dumps("x" * 900))).damaged


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f",  # a text that is longer than any memory
        b"\x80\x04\x8b\xff\xff\xff\x7f",
        b"c" + b"a." * 100_000 + b"a\nb\n(tR.",  # a name of many parts
    ],
)
def test_what_says_that_it_is_huge_takes_no_room(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    tracemalloc.start()
    assert not _pickles.scan(path).harmful
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50 * 2**20
