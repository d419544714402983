from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from marsmith.cache import Cache
from marsmith.errors import BuildError
from marsmith.passes.prune_unstructured import PruneUnstructured
from marsmith.training.fit import CHECKPOINT, fit, planned
from tests.support.small_training import lesson, net


def silent(line: str) -> None:
    pass


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(value, others[name]) for name, value in one.state_dict().items())


def test_training_learns_and_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    module = net()
    report = fit(module, lesson(12), Cache(tmp_path), "net", lines.append)
    points = torch.eye(4)[:3]
    assert module(points).argmax(1).tolist() == [0, 1, 2]
    assert not module.training
    assert len(lines) == report["epochs"] == 12
    assert f"{report['loss']:.4f}" in lines[-1]
    assert [file.name for file in tmp_path.iterdir()] == ["net"]


def test_a_second_run_takes_the_weights_of_the_first(tmp_path: Path) -> None:
    first, second = net(), net(seed=1)
    lines: list[str] = []
    report = fit(first, lesson(), Cache(tmp_path), "net", silent)
    before = torch.random.get_rng_state()
    assert fit(second, lesson(), Cache(tmp_path), "net", lines.append) == report
    assert equal(first, second)
    assert lines == ["load the weights that were trained before"]
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_comes_after_does_not_depend_on_whether_it_trained(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    module = net()
    after_net = torch.random.get_rng_state()
    fit(module, lesson(1), Cache(tmp_path), "net", silent)
    assert torch.equal(after_net, torch.random.get_rng_state())
    assert not torch.equal(before, after_net)


@pytest.mark.parametrize("workers", [0, 2])
def test_equal_seeds_give_equal_weights(tmp_path: Path, workers: int) -> None:
    one, other, third = net(0.5), net(0.5), net(0.5)
    fit(one, lesson(2), Cache(tmp_path), "one", silent)
    fit(other, lesson(2, workers=workers), Cache(tmp_path), "other", silent)
    fit(third, lesson(2, seed=1), Cache(tmp_path), "third", silent)
    # Readers leave this process's random numbers alone, which dropout then takes otherwise.
    assert equal(one, other) == (workers == 0)
    assert not equal(one, third)


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.small_training", "killed", str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    cache = Cache(tmp_path)
    assert (cache.resumable("net") / CHECKPOINT).is_file()
    assert cache.find("net") is None
    cache.drop_unused()  # as every build does when it ends

    lines: list[str] = []
    resumed, uninterrupted = net(dropout=0.5), net(dropout=0.5)
    report = fit(resumed, lesson(), Cache(tmp_path), "net", lines.append)
    assert lines[0].startswith("go on after epoch")
    assert fit(uninterrupted, lesson(), Cache(tmp_path), "whole", silent) == report
    assert equal(resumed, uninterrupted)
    assert not cache.resumable("net").exists()


def test_a_damaged_checkpoint_is_said(tmp_path: Path) -> None:
    checkpoint = Cache(tmp_path).resumable("net") / CHECKPOINT
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"nothing of use")
    with pytest.raises(BuildError, match=r"net/epoch\.pt can't be taken up") as error:
        fit(net(), lesson(), Cache(tmp_path), "net", silent)
    assert "delete" in error.value.hint


@pytest.mark.parametrize(
    ("data", "message"), [("endless", "not a map-style Dataset"), ("numbers", "inputs, target")]
)
def test_data_of_another_kind_is_said(tmp_path: Path, data: str, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        fit(net(), lesson(data=data), Cache(tmp_path), "net", silent)


def test_a_loss_that_explodes_is_said(tmp_path: Path) -> None:
    def explode(outputs: object, inputs: object, targets: object) -> torch.Tensor:
        assert isinstance(outputs, torch.Tensor)
        return outputs.sum() * torch.inf

    with pytest.raises(BuildError, match="in epoch 1"):
        fit(net(), lesson(), Cache(tmp_path), "net", silent, loss=explode)


def test_layers_that_are_to_be_still_are(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    fit(module, lesson(1), Cache(tmp_path), "net", silent, still=(torch.nn.BatchNorm1d,))
    assert torch.equal(module.get_buffer("1.running_mean"), torch.zeros(3))


def test_a_pass_may_say_otherwise_than_the_recipe() -> None:
    change = PruneUnstructured(epochs=3, learning_rate=0.5)
    training = planned(change, lesson(9))
    assert training is not None
    assert (training.epochs, training.learning_rate, training.batch_size) == (3, 0.5, 15)
    assert planned(PruneUnstructured(epochs=0), lesson()) is None
    assert planned(PruneUnstructured(), None) is None
    with pytest.raises(BuildError, match="prune_unstructured trains, and the recipe has no"):
        planned(change, None)
