from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from marsmith.cache import Cache
from marsmith.errors import BuildError, GateError
from marsmith.pipeline.build import build
from marsmith.sources.torchscript import TorchScriptFile


def loaded(path: Path) -> nn.Module:
    return TorchScriptFile(torchscript=path).load(Cache(path.parent), lambda line: None)


@pytest.mark.parametrize("frozen", [True, False])
def test_it_is_the_module_in_evaluation(tmp_path: Path, frozen: bool) -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.9)).train(not frozen)
    scripted = torch.jit.script(module)
    torch.jit.save(torch.jit.freeze(scripted) if frozen else scripted, str(tmp_path / "model.pt"))
    x = torch.rand(4, 3)
    torch.testing.assert_close(loaded(tmp_path / "model.pt")(x), module.eval()(x))


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 not a zip", b"\x80\x02}q\x00."], ids=["empty", "zip", "pickle"]
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(BuildError, match=r"model\.pt is not a TorchScript file: .") as caught:
        loaded(tmp_path / "model.pt")
    assert "torch.jit.save" in caught.value.hint


def test_a_state_dict_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "model.pt")
    with pytest.raises(BuildError, match=r"model\.pt is not a TorchScript file: ."):
        loaded(tmp_path / "model.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"there is no TorchScript file .*nowhere\.pt"):
        loaded(tmp_path / "nowhere.pt")


class Difference(nn.Module):
    def forward(self, minuend: torch.Tensor, subtrahend: torch.Tensor) -> torch.Tensor:
        return minuend - subtrahend


def test_a_model_that_takes_its_tensors_otherwise_than_the_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.jit.save(torch.jit.script(Difference()), str(tmp_path / "model.pt"))
    np.savez(tmp_path / "data.npz", subtrahend=[[1.0, 2.0]], minuend=[[5.0, 5.0]])
    recipe = {
        "name": "difference",
        "task": "tensors",
        "source": {"torchscript": str(tmp_path / "model.pt")},
        "handler": {"inputs": {name: {"shape": [2]} for name in ("subtrahend", "minuend")}},
        "evaluation": {"data": str(tmp_path / "data.npz")},
    }
    report = build(recipe, tmp_path / "store")
    assert report is not None
    first, second, *_ = report.ladder
    assert (first.name, second.difference.max_abs_error) == ("untouched", 0)
    assert first.by == "the file itself, run by torch.jit"

    def swapped(self: TorchScriptFile, cache: Cache, say: Callable[[str], None]) -> nn.Module:
        class Swapped(nn.Module):
            def forward(self, minuend: torch.Tensor, subtrahend: torch.Tensor) -> torch.Tensor:
                return subtrahend - minuend

        return torch.jit.script(Swapped().eval())

    monkeypatch.setattr(TorchScriptFile, "load", swapped)
    with pytest.raises(GateError, match="output 'output' of the model behind the handler is 8"):
        build(recipe, tmp_path / "store")
