"""TorchScript files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from handlers.errors import LoadError
from handlers.runtimes.torchscript import load

CPU = torch.device("cpu")


@pytest.mark.parametrize("frozen", [True, False])
def test_a_scripted_module_runs(tmp_path: Path, frozen: bool) -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.9)).eval()
    scripted = torch.jit.script(module)
    torch.jit.save(torch.jit.freeze(scripted) if frozen else scripted, str(tmp_path / "model.pt"))
    runtime = load(tmp_path / "model.pt", CPU)
    batch = torch.rand(4, 3)
    output = runtime({"x": batch})["output"]
    torch.testing.assert_close(output, module(batch))
    assert not output.requires_grad


def test_a_module_saved_in_training_is_put_into_evaluation(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Dropout(0.9).train()), str(tmp_path / "model.pt"))
    ones = torch.ones(2, 8)
    assert torch.equal(load(tmp_path / "model.pt", CPU)({"x": ones})["output"], ones)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 not a zip", b"\x80\x02}q\x00."], ids=["empty", "zip", "pickle"]
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(LoadError, match=r"model\.pt can't be loaded as TorchScript"):
        load(tmp_path / "model.pt", CPU)


def test_a_file_for_another_engine_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(3, 2)), str(tmp_path / "model.pt"))
    with pytest.raises(LoadError, match="is quantised for 'abacus', which torch doesn't have"):
        load(tmp_path / "model.pt", CPU, engine="abacus")
    with pytest.raises(LoadError, match="which torch doesn't have on cuda here"):
        load(tmp_path / "model.pt", torch.device("cuda"), engine="x86")
