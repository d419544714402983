from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from marsmith.errors import BuildError, GateError
from marsmith.pipeline.build import build

Rows = Callable[[torch.Tensor], torch.Tensor]


class Net(nn.Module):
    """Five logits of a picture, which something is done to that may mix them with its neighbours'.

    Args:
        after: what is done.
    """

    def __init__(self, after: Rows) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.after = nn.Linear(48, 5), after

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.after(self.layer(image.flatten(1)))


def batch_norm(x: torch.Tensor) -> torch.Tensor:
    """With the batch's own mean and variance, as a model that is still in training."""
    if len(x) == 1:
        return x
    return functional.batch_norm(x, None, None, training=True)


MIXING: dict[str, Rows] = {
    "a softmax over the batch": lambda x: torch.softmax(x, dim=0),
    "a norm with the batch's own mean": batch_norm,
    "the batch's mean taken away": lambda x: x - x.mean(0, keepdim=True) * 0.5,
    "the largest of the batch": lambda x: x / x.abs().amax(),
    "its neighbour": lambda x: x + x.roll(1, 0),
}


def pictures() -> list[tuple[bytes, None]]:
    """Some that differ."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(6):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8)).save(file, "PNG")
        found.append((file.getvalue(), None))
    return found


def built(module: nn.Module, folder: Path, *, with_data: bool, size: int = 4) -> None:
    evaluation: dict[str, Any] = {"evaluation": {"data": pictures()}} if with_data else {}
    build(
        module, folder, name="net", task="image_classification", runtime="torchscript",
        handler={"resize": [4, 4]}, conversion={"trace": True},
        serving={"batch_size": size}, **evaluation,
    )  # fmt: skip


@pytest.mark.parametrize("with_data", [True, False])
@pytest.mark.parametrize("after", MIXING.values(), ids=MIXING)
def test_a_model_whose_rows_mix_is_refused(tmp_path: Path, after: Rows, with_data: bool) -> None:
    with pytest.raises(GateError, match="otherwise beside others than alone") as refused:
        built(Net(after), tmp_path, with_data=with_data)
    assert "batch_size: 1" in refused.value.hint
    assert not list(tmp_path.glob("*.mar"))


@pytest.mark.parametrize("with_data", [True, False])
def test_rows_of_their_own_are_taken(tmp_path: Path, with_data: bool) -> None:
    built(Net(lambda x: torch.softmax(x, dim=1)), tmp_path, with_data=with_data)


def test_one_request_at_a_time_mixes_with_none(tmp_path: Path) -> None:
    built(Net(MIXING["its neighbour"]), tmp_path, with_data=True, size=1)


@pytest.mark.parametrize("with_data", [True, False])
def test_a_model_that_takes_one_alone_is_told_so(tmp_path: Path, with_data: bool) -> None:
    with pytest.raises(BuildError, match="takes one request, and not 4 together") as refused:
        built(Net(lambda x: x.view(1, 5)), tmp_path, with_data=with_data)
    assert "batch_size: 1" in refused.value.hint
