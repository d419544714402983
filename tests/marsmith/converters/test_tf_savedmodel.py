from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from examples import resnet50
from handlers.runtimes import Runtime
from marsmith.converters import Artifact, Job
from marsmith.converters.tf_savedmodel import convert, load
from tests.support.awkward_models import words
from tests.support.converter_jobs import job


class Reader(nn.Module):
    """Self-attention over words, and awkward names: (N, L) ids -> (N, 8), (N, L, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.block = nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True)
        self.layer = nn.Linear(16, 8)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        tokens = self.block(self.embedding(ids), src_key_padding_mask=mask == 0)
        weights = mask.unsqueeze(-1).to(tokens.dtype)
        pooled = (tokens * weights).sum(1) / weights.sum(1)
        return {"pooled/all": self.layer(pooled), "tokens": tokens}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Artifact]:
    torch.manual_seed(0)
    asked = job(Reader(), *words(2, 6))
    return asked, convert(asked, "fp32", tmp_path_factory.mktemp("saved"))


@pytest.fixture(scope="module")
def runtime(made: tuple[Job, Artifact]) -> Runtime:
    return load(made[1], made[0])


@pytest.mark.slow
def test_it_is_a_folder_that_lists_its_files(made: tuple[Job, Artifact]) -> None:
    model, *rest = (made[1].model, *made[1].files)
    assert model.name == "saved_model.pb"
    assert {file.parent.name for file in rest} == {"variables"}
    written = {file for file in model.parent.parent.rglob("*") if file.is_file()}
    assert written == {model, *rest}
    assert made[1].options["inputs"] == {"input_0": "input_0", "input_1": "input_1"}
    assert made[1].options["outputs"] == {"pooled/all": "pooled_all", "tokens": "tokens"}


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3])
def test_tensorflow_gives_what_pytorch_gives(
    made: tuple[Job, Artifact], runtime: Runtime, rows: int
) -> None:
    inputs = words(rows, 6)
    outputs = runtime({"input_1": inputs[1], "input_0": inputs[0]})
    with torch.inference_mode():
        expected = made[0].module(*inputs)
    assert list(outputs) == list(expected)
    for name, tensor in outputs.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=0)


@pytest.mark.slow
def test_what_tensorflow_refuses_is_an_error_and_not_the_end(runtime: Runtime) -> None:
    ids, mask = words(2, 6)
    with pytest.raises(RuntimeError, match="int64"):
        runtime({"input_0": ids.float(), "input_1": mask})
    runtime({"input_0": ids, "input_1": mask})


@pytest.mark.slow
def test_equal_modules_give_equal_bytes(made: tuple[Job, Artifact], tmp_path: Path) -> None:
    again = convert(made[0], "fp32", tmp_path)
    files = zip((made[1].model, *made[1].files), (again.model, *again.files), strict=True)
    assert all(one.read_bytes() == other.read_bytes() for one, other in files)


@pytest.mark.slow
def test_resnet50(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, images = resnet50.model(), resnet50.photographs(resnet50.HELD_OUT, 3)
    resnet50.settle(module)
    asked = job(module, images[:2])
    runtime = load(convert(asked, "fp32", tmp_path), asked)
    for rows in (1, 3):
        image = images[:rows]
        with torch.inference_mode():
            expected = asked.module(image)
        torch.testing.assert_close(
            runtime({"input_0": image})["output"], expected, atol=1e-4, rtol=0
        )
