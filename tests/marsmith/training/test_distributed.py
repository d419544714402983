from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from marsmith.cache import Cache
from marsmith.training import distributed
from marsmith.training.fit import fit
from tests.support.command import marsmith
from tests.support.nodes import Nodes
from tests.support.small_training import lesson, net
from tests.support.waiting import wait_until

PROGRAM = "tests.support.small_training"
RECIPE = """
name: clouds
task: tensors
source: {factory: "tests.support.small_training:net"}
handler: {inputs: {points: {shape: [4]}}}
passes:
  - distill: {student: "tests.support.small_training:net", arguments: {seed: 1}, epochs: 60}
  - prune_structured: {ratio: 0.5, epochs: 2}
  - qat: {epochs: 2}
training: {data: "tests.support.small_training:blobs", batch_size: 15, learning_rate: 0.01}
accept: {min_cosine: -1}
"""


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


@pytest.mark.slow
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


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    both = Nodes()
    try:
        both.set_up()
        yield both
    finally:
        both.end()


def build_on_both(
    nodes: Nodes, recipe: Path, stores: list[Path]
) -> tuple[list[subprocess.Popen[bytes]], list[Path]]:
    """Begin a build on two nodes, each with a store of its own; also return what they say."""
    words = [store.with_suffix(".txt") for store in stores]
    build = ["marsmith.cli", "build", str(recipe), "--candidate", "torchscript:fp32"]
    return [
        nodes.torchrun(place, [*build, "--model-store", str(store)], said)
        for place, (store, said) in enumerate(zip(stores, words, strict=True))
    ], words


def weights(archive: Path, folder: Path) -> dict[str, torch.Tensor]:
    with zipfile.ZipFile(archive) as opened:
        return torch.jit.load(opened.extract("model.pt", folder)).state_dict()  # type: ignore[no-any-return]


@pytest.mark.slow
def test_nodes_build_as_one_and_a_dead_one_costs_an_epoch(nodes: Nodes, tmp_path: Path) -> None:
    recipe = tmp_path / "clouds.yaml"
    recipe.write_text(RECIPE)
    whole, killed = ([tmp_path / f"{how}-{place}" for place in range(2)] for how in "wk")
    alone = tmp_path / "alone"
    marsmith("build", recipe, "--candidate", "torchscript:fp32", "--model-store", alone)

    started, words = build_on_both(nodes, recipe, whole)
    assert [process.wait() for process in started] == [0, 0], words[0].read_text()
    assert (whole[0] / "clouds.mar").is_file()
    assert [file.name for file in whole[1].iterdir()] == [".cache"]
    found = weights(whole[0] / "clouds.mar", tmp_path / "of-two")
    for name, value in weights(alone / "clouds.mar", tmp_path / "of-one").items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0)

    # The first node dies, with the address at which they meet, and its disk is lost.
    started, words = build_on_both(nodes, recipe, killed)
    wait_until(lambda: "epoch 3 of 60" in words[0].read_text())
    nodes.kill(0)
    assert [process.wait(120) for process in started][1] == 1
    assert "another process of this build ended" in words[1].read_text()
    shutil.rmtree(killed[0])
    started, words = build_on_both(nodes, recipe, killed)
    assert [process.wait() for process in started] == [0, 0], words[0].read_text()
    gone_on = re.search(r"go on after epoch (\d+)", words[0].read_text())
    assert gone_on
    assert 3 <= int(gone_on[1]) < 60
    assert (killed[0] / "clouds.mar").read_bytes() == (whole[0] / "clouds.mar").read_bytes()
