"""What the tests of passes are given: see tests/marsmith/passes/conftest.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from handlers.runtimes import Tensors
from marsmith.passes import Work

Measure = Callable[[Callable[[torch.Tensor], torch.Tensor]], float]


class MakeWork(Protocol):
    """Makes a `Work`; with settings of a training it has one, on the digits."""

    def __call__(self, batch: Tensors | None = None, **training: object) -> Work: ...
