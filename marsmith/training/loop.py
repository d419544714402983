"""The training loop: processes share batches, and random numbers follow from the seed."""

from __future__ import annotations

import io
import math
import pickle
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from handlers.device import CPU, accelerator, choose
from handlers.runtimes.eager import Outputs
from marsmith.atomic import replacing
from marsmith.errors import BuildError, reason
from marsmith.recipe.references import resolve
from marsmith.recipe.sections import Training
from marsmith.training import distributed

Loss = Callable[[Outputs, tuple[object, ...], object], torch.Tensor]
"""Takes a batch's outputs, inputs and targets; returns the mean loss over the batch."""


class Loop:
    """A training in progress: what changes from step to step."""

    def __init__(
        self,
        module: torch.nn.Module,
        training: Training,
        loss: Loss,
        still: tuple[type[torch.nn.Module], ...],
    ) -> None:
        self.module, self.training, self.loss, self.still = module, training, loss, still
        self.data = _dataset(training)
        self.count = len(self.data)  # type: ignore[arg-type]
        if not distributed.alike(f"{self.count} {training.model_dump_json()}".encode()):
            raise BuildError(
                "the processes of this build have different training data or settings",
                f"give every node the same recipe, code and data; here {training.data} has "
                f"{self.count} items",
            )
        self.batch_size = min(training.batch_size, self.count)
        self.mine = slice(distributed.rank(), self.batch_size, distributed.world_size())
        self.part = len(range(self.batch_size)[self.mine]) / self.batch_size
        self.device = own_device()
        self.optimiser = torch.optim.AdamW(
            module.to(self.device).parameters(),
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
        )

    def run(self, checkpoint: Path, say: Callable[[str], None]) -> float:
        """Train from the checkpoint or the start to the end, and return the last epoch's loss."""
        done, loss = self._take_up(checkpoint)
        if done:
            say(f"go on after epoch {done}")
        parallel = _shared(self.module, self.device)
        for epoch in range(done, self.training.epochs):
            loss = self._epoch(parallel, epoch)
            if not math.isfinite(loss):
                raise BuildError(
                    f"the loss became {loss} in epoch {epoch + 1}", "lower the learning_rate"
                )
            self._keep(checkpoint, epoch + 1, loss)
            say(f"epoch {epoch + 1} of {self.training.epochs}: loss {loss:.4f}")
        self.module.to("cpu")
        return loss

    def _epoch(self, parallel: torch.nn.Module, epoch: int) -> float:
        training = self.training
        batches = self._batches(epoch)
        steps = training.epochs * len(batches)
        torch.manual_seed(_seed(training.seed, epoch, distributed.rank()))
        loader = DataLoader(
            _Seeded(self.data, training.seed, epoch),
            batch_sampler=[batch[self.mine] for batch in batches],
            num_workers=training.workers,
        )
        lost = torch.zeros((), device=self.device)
        with _learning(self.module, self.still):
            for step, (inputs, targets) in enumerate(loader, epoch * len(batches)):
                self._set_rate(step / steps)
                lost += self._step(parallel, _on(self.device, inputs), _on(self.device, targets))
        return distributed.total(float(lost)) / len(batches)

    def _step(self, parallel: torch.nn.Module, inputs: object, targets: object) -> torch.Tensor:
        """Take one step, and return this process's part of the batch's loss."""
        given: tuple[object, ...] = tuple(inputs) if isinstance(inputs, list) else (inputs,)
        loss = self.part * self.loss(parallel(*given), given, targets)
        self.optimiser.zero_grad()
        # DDP takes the mean over processes; the batch's gradient is their sum.
        (loss * distributed.world_size()).backward()
        self.optimiser.step()
        return loss.detach()

    def _batches(self, epoch: int) -> list[list[int]]:
        """The epoch's full batches, the same in every process."""
        generator = torch.Generator().manual_seed(_seed(self.training.seed, epoch))
        order = torch.randperm(self.count, generator=generator)
        full = self.count // self.batch_size * self.batch_size
        return cast("list[list[int]]", order[:full].view(-1, self.batch_size).tolist())

    def _set_rate(self, progress: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.training.learning_rate * (1 + math.cos(math.pi * progress)) / 2

    def _keep(self, checkpoint: Path, epoch: int, loss: float) -> None:
        if distributed.local_rank() != 0:
            return
        state = {
            "epoch": epoch,
            "loss": loss,
            "model": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        with replacing(checkpoint) as unfinished:
            torch.save(state, unfinished)

    def _take_up(self, checkpoint: Path) -> tuple[int, float]:
        """Restore the state after the last finished epoch: how many are done, and its loss."""
        own = checkpoint.read_bytes() if checkpoint.is_file() else None
        with _legible(checkpoint):
            done = -1 if own is None else _state(own)["epoch"]
        given = distributed.share(lambda: own, distributed.furthest(done))
        if given is None:
            return 0, math.nan
        with _legible(checkpoint):
            state = _state(given)
            self.module.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
        return state["epoch"], state["loss"]


def _state(data: bytes) -> dict[str, Any]:
    state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return cast("dict[str, Any]", state)


@contextmanager
def _legible(checkpoint: Path) -> Iterator[None]:
    """Say of which file it is that it can't be taken up."""
    try:
        yield
    except (pickle.UnpicklingError, RuntimeError, KeyError, ValueError, EOFError) as error:
        raise BuildError(
            f"the checkpoint {checkpoint} can't be taken up: {reason(error)}",
            "delete it, and the training starts anew",
        ) from error


class _Seeded(Dataset[object]):
    """Items whose random choices follow from the seed, the epoch and the index alone."""

    def __init__(self, data: Dataset[object], seed: int, epoch: int) -> None:
        self.data, self.seed, self.epoch = data, seed, epoch

    def __getitem__(self, index: int) -> object:
        torch.default_generator.manual_seed(_seed(self.seed, self.epoch, index))
        return self.data[index]


def _seed(*numbers: int) -> int:
    return zlib.crc32(repr(numbers).encode())  # well mixed, and the same on every machine


def _dataset(training: Training) -> Dataset[object]:
    data = resolve(training.data)()
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise BuildError(
            f"{training.data} returned {type(data).__name__}, not a map-style Dataset",
            "return one with __len__ and __getitem__, such as torch.utils.data.TensorDataset",
        )
    shared = min(len(data), training.batch_size)
    if shared < distributed.world_size():
        raise BuildError(
            f"a batch of {shared} can't be shared by {distributed.world_size()} processes"
        )
    if not isinstance(data[0], (tuple, list)) or len(data[0]) != 2:
        raise BuildError(f"an item of {training.data} must be (inputs, target)")
    return cast("Dataset[object]", data)


def own_device() -> torch.device:
    """This process's own GPU, made the current one; the CPU where there is none."""
    if accelerator() is None:
        return CPU
    return choose(distributed.local_rank() % torch.accelerator.device_count())


def _shared(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    if distributed.world_size() == 1:
        return module
    # A static graph also allows for parameters that get no gradient.
    devices = None if device.type == "cpu" else [device]
    return DistributedDataParallel(module, device_ids=devices, static_graph=True)


@contextmanager
def _learning(module: torch.nn.Module, still: tuple[type[torch.nn.Module], ...]) -> Iterator[None]:
    """Training mode for the block, except for the layers that stay in evaluation mode."""
    module.train()
    for layer in module.modules():
        if isinstance(layer, still):
            layer.eval()
    yield
    module.eval()


def _on(device: torch.device, value: object) -> object:
    """Move a batch as the loader gives it to a device; tuples become lists."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, (list, tuple)):
        return [_on(device, each) for each in value]
    if isinstance(value, dict):
        return {name: _on(device, each) for name, each in value.items()}
    return value
