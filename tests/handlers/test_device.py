"""Where a worker runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from handlers import cpu, device
from handlers.errors import LoadError

CPU = torch.device("cpu")


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    chosen: list[int] = []
    seen(monkeypatch, "cuda")
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # as it is by default
    return chosen


def seen(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Let torch see two accelerators of that kind."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


def test_without_a_gpu_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert device.choose(None) == CPU
    assert device.choose(0) == CPU


def test_apples_gpu_counts_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    seen(monkeypatch, "mps")
    assert device.choose(0) == CPU


def test_another_accelerator_than_nvidias_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    seen(monkeypatch, "xpu")
    monkeypatch.setattr(torch.xpu, "set_device", chosen.append)
    assert device.choose(1) == torch.device("xpu", 1)
    assert chosen == [1]


def test_the_gpu_that_torchserve_gave_is_chosen(two_gpus: list[int]) -> None:
    assert device.choose(1) == torch.device("cuda", 1)
    assert device.choose(None) == CPU
    assert two_gpus == [1]


def test_float32_is_float32_on_a_gpu(two_gpus: list[int]) -> None:
    device.choose(0)
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("gpu_id", [2, -1])
def test_a_gpu_that_is_not_there_is_refused(two_gpus: list[int], gpu_id: int) -> None:
    with pytest.raises(LoadError, match=f"no GPU {gpu_id} here; there are 2"):
        device.choose(gpu_id)
    assert two_gpus == []


def test_cores_are_shared_by_the_workers_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "cores", lambda: 8)
    monkeypatch.delenv("MARSMITH_WORKERS", raising=False)
    assert device.share("tiny", 2) == 4
    monkeypatch.setenv("MARSMITH_WORKERS", str(tmp_path))
    assert device.share("tiny", 2) == 4
    for said, expected in (("8", 1), ("4", 2), ("16", 1), ("0", 8), ("nonsense", 4)):
        (tmp_path / "tiny").write_text(said)
        assert device.share("tiny", 2) == expected


def test_a_lost_gpu_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []

    def lost(which: torch.device) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(torch.accelerator, "synchronize", lost)
    device.exit_if_lost(CPU)
    assert ended == []
    device.exit_if_lost(torch.device("cuda", 0))
    assert ended == [1]


def test_a_healthy_gpu_keeps_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "_exit", lambda status: pytest.fail("it ended"))
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda which: None)
    device.exit_if_lost(torch.device("cuda", 0))
