from __future__ import annotations

import copy
import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn

from examples.digits import model
from handlers import runtimes
from handlers.runtimes import Runtime
from marsmith.converters import Artifact, Job
from marsmith.converters.torchscript import PRECISIONS, convert
from marsmith.errors import UnsupportedError
from tests.support.awkward_models import Branching, Fixed, Starred, Words, words
from tests.support.converter_jobs import job

CPU = torch.device("cpu")
QUANTISED = ("int8", "int8_dynamic")


def load(artifact: Artifact) -> Runtime:
    return runtimes.load("torchscript", artifact.model, CPU, artifact.options)


def digits(module: nn.Module | None = None) -> Job:
    torch.manual_seed(0)
    module = module or model()
    images = torch.rand(64, 1, 8, 8)
    return job(module, images[:1], calibration=[{"input_0": images}])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_gives_the_modules_answers_at_any_batch_size(
    tmp_path: Path, precision: str
) -> None:
    given = digits()
    before = copy.deepcopy(given.module)
    runtime = load(convert(given, precision, tmp_path))
    for rows in (1, 3, 8):
        image = torch.rand(rows, 1, 8, 8)
        output = runtime({"input_0": image})["output"]
        assert output.dtype == torch.float32
        assert output.shape == (rows, 10)
        expected = before(image)
        assert torch.cosine_similarity(output, expected).min() > 0.99
        if precision == "fp32":
            torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(given.module(image), expected)  # the job's own is unchanged
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("precision", ["fp32", "bf16", *QUANTISED])
def test_equal_modules_give_equal_bytes_however_many_were_scripted_before(
    tmp_path: Path, precision: str
) -> None:
    digests = set()
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        artifact = convert(digits(), precision, tmp_path / name)
        digests.add(hashlib.sha256(artifact.model.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8_dynamic"])
def test_integer_inputs_of_any_length_and_outputs_by_name(tmp_path: Path, precision: str) -> None:
    torch.manual_seed(0)
    module = Words()
    given = job(module, *words(2, 5), varying={"input_0": (1,), "input_1": (1,)})
    runtime = load(convert(given, precision, tmp_path))
    for rows, length in ((1, 1), (3, 7), (8, 4)):
        ids, mask = words(rows, length)
        outputs, expected = runtime({"input_1": mask, "input_0": ids}), module(ids, mask)
        assert list(outputs) == ["pooled", "tokens"]
        for name in outputs:
            torch.testing.assert_close(outputs[name], expected[name], atol=0.03, rtol=0)


def test_a_model_that_cannot_be_scripted_is_traced_when_the_recipe_allows_it(
    tmp_path: Path,
) -> None:
    module, row = Starred(), torch.rand(1, 3)
    with pytest.raises(UnsupportedError, match="TorchScript can't express this model") as caught:
        convert(job(module, row, row), "fp32", tmp_path)
    assert "try 'conversion: {trace: true}'" in caught.value.hint
    assert "\n" not in caught.value.message
    runtime = load(convert(job(module, row, row, trace=True), "fp32", tmp_path))
    a, b = torch.rand(2, 5, 3)
    outputs = runtime({"input_0": a, "input_1": b})
    assert list(outputs) == ["sum", "first"]
    torch.testing.assert_close(outputs["sum"], module(a, b)["sum"])


def test_a_trace_that_fits_one_batch_size_only_is_refused(tmp_path: Path) -> None:
    row = torch.rand(1, 3)
    with pytest.raises(UnsupportedError, match="TorchScript can't trace this model"):
        convert(job(Fixed(), row, row, trace=True), "fp32", tmp_path)


def test_static_int8_needs_data(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="takes the ranges of activations") as caught:
        convert(job(model(), torch.rand(1, 1, 8, 8)), "int8", tmp_path)
    assert "'calibration:'" in caught.value.hint


def test_what_torch_cannot_quantise_is_refused_with_the_reason(tmp_path: Path) -> None:
    x = torch.rand(1, 3)
    given = job(Branching(), x, calibration=[{"input_0": x}])
    with pytest.raises(UnsupportedError, match=r"torch\.fx can't quantise this model: \w+"):
        convert(given, "int8", tmp_path)
    with pytest.raises(UnsupportedError, match="for Linear, LSTM and GRU, and this model has none"):
        convert(job(nn.Conv2d(1, 1, 1), x[None, None]), "int8_dynamic", tmp_path)


@pytest.mark.parametrize("precision", QUANTISED)
def test_quantised_modules_run_on_cpus_only(tmp_path: Path, precision: str) -> None:
    given = dataclasses.replace(digits(), device=torch.device("cuda"))
    with pytest.raises(UnsupportedError, match=f"torch runs {precision} on CPUs only"):
        convert(given, precision, tmp_path)


@pytest.mark.parametrize(
    ("precision", "frozen"), [("fp32", True), ("fp32", False), ("fp16", False)]
)
def test_torchscript_stays_torchscript(tmp_path: Path, precision: str, frozen: bool) -> None:
    torch.manual_seed(0)
    module = torch.jit.script(model().eval())
    image = torch.rand(3, 1, 8, 8)
    expected = module(image)
    given = digits(torch.jit.freeze(module) if frozen else module)
    output = load(convert(given, precision, tmp_path))({"input_0": image})["output"]
    torch.testing.assert_close(output, expected, atol=5e-3, rtol=0)


def test_the_constants_of_frozen_torchscript_stay_as_they_are(tmp_path: Path) -> None:
    frozen = torch.jit.freeze(torch.jit.script(model().eval()))
    with pytest.raises(UnsupportedError, match="frozen TorchScript can't become bf16"):
        convert(digits(frozen), "bf16", tmp_path)


def test_torchscript_is_not_quantised(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="a TorchScript file can't be quantised to int8"):
        convert(digits(torch.jit.script(model().eval())), "int8", tmp_path)
