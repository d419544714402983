from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from marsmith.cache import Cache
from marsmith.training import distributed
from marsmith.training.fit import fit
from tests.support.small_training import lesson, net

PROGRAM = "tests.support.small_training"


def test_one_process_needs_no_other() -> None:
    with distributed.group():
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        distributed.barrier()
        distributed.copy(net())
        assert distributed.share(lambda: b"mine") == b"mine"
        assert distributed.total(2.5) == 2.5


def check_agreement(folder: Path) -> None:
    alone = net()
    fit(alone, lesson(), Cache(folder), "alone", lambda line: None)
    first, second = (torch.load(folder / f"rank-{rank}.pt") for rank in range(2))
    for name, value in alone.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, atol=1e-5, rtol=0)


def test_two_processes_train_as_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert distributed.launch(2, ["agree", str(tmp_path)], PROGRAM) == 0
    check_agreement(tmp_path)
    assert capfd.readouterr().out.count("epoch 1 of 4") == 1
    assert [file.name for file in tmp_path.glob("*net*")] == ["net"]


@pytest.mark.slow
def test_processes_that_torchrun_started_train_as_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*command, "-m", PROGRAM, "agree", str(tmp_path)], check=True)
    check_agreement(tmp_path)


@pytest.mark.slow
def test_when_one_fails_all_end_with_its_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # The other one would wait for days.
    assert distributed.launch(2, ["die", str(tmp_path)], PROGRAM) == 1
    assert "the second process has had enough" in capfd.readouterr().err
    children = subprocess.run(
        ["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert children.stdout.split() in ([], [str(os.getpid())])
