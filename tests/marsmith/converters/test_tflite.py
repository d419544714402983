from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from examples import resnet50
from examples.digits import model as digits
from handlers import runtimes
from handlers.runtimes import Runtime
from marsmith.converters import Artifact
from marsmith.converters.tflite import PRECISIONS, convert
from marsmith.errors import UnsupportedError
from tests.support.awkward_models import Words, words
from tests.support.converter_jobs import job

CPU = torch.device("cpu")
Made = tuple[nn.Module, Artifact]


def images(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def convert_digits(precision: str, out: Path) -> Made:
    torch.manual_seed(0)
    module = digits().eval()
    calibration = [{"input_0": images(16, seed)} for seed in (1, 2)]
    asked = job(module, images(2, 0), calibration=calibration)
    return module, convert(asked, precision, out)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """An untrained digits model, converted once to each precision."""
    kept: dict[str, Made] = {}

    def give(precision: str) -> Made:
        if precision not in kept:
            kept[precision] = convert_digits(precision, tmp_path_factory.mktemp(precision))
        return kept[precision]

    return give


def loaded(artifact: Artifact) -> Runtime:
    return runtimes.load("tflite", artifact.model, CPU, artifact.options)


@pytest.mark.parametrize(
    ("precision", "error", "share"),
    [
        pytest.param("fp32", 1e-5, 1.05, marks=pytest.mark.slow),
        pytest.param("fp16", 1e-3, 0.6, marks=pytest.mark.slow),
        ("int8", 0.05, 0.4),
        pytest.param("int8_dynamic", 0.05, 0.4, marks=pytest.mark.slow),
    ],
)
def test_every_precision_keeps_close_to_the_module_and_in_its_size(
    made: Callable[[str], Made], precision: str, error: float, share: float
) -> None:
    module, artifact = made(precision)
    assert [file.name for file in artifact.model.parent.iterdir()] == ["model.tflite"]
    weights = sum(tensor.nbytes for tensor in module.state_dict().values())
    assert artifact.size < share * weights + 4096
    runtime = loaded(artifact)
    for rows in (1, 32):
        image = images(rows, 7)
        expected = module(image)
        output = runtime({"input_0": image})["output"]
        torch.testing.assert_close(output, expected, atol=error, rtol=0)
        assert nn.functional.cosine_similarity(output, expected).min() > 0.98


@pytest.mark.slow
def test_the_precisions_are_different_files(made: Callable[[str], Made]) -> None:
    contents = {made(precision)[1].model.read_bytes() for precision in PRECISIONS}
    assert len(contents) == len(PRECISIONS)


@pytest.mark.slow
def test_an_operator_that_tflite_lacks_is_named(tmp_path: Path) -> None:
    class Determinant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = torch.linalg.det(x)
            return found

    with pytest.raises(UnsupportedError, match="MatrixDeterminant") as caught:
        convert(job(Determinant(), torch.rand(2, 3, 3)), "fp32", tmp_path)
    assert "onnx" in caught.value.hint


def test_an_operator_that_onnx2tf_lacks_is_named(tmp_path: Path) -> None:
    class Spectrum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.view_as_real(torch.fft.fft(x))

    with pytest.raises(UnsupportedError, match="DFT") as caught:
        convert(job(Spectrum(), torch.rand(2, 8)), "fp32", tmp_path)
    assert "onnx" in caught.value.hint


def test_sizes_that_vary_beyond_the_batch_are_refused(tmp_path: Path) -> None:
    asked = replace(job(Words(), *words(2, 5)), varying={"input_1": (1,)})
    with pytest.raises(UnsupportedError, match="'input_1' varies along its axis 1"):
        convert(asked, "fp32", tmp_path)


def test_int8_needs_calibration(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="there is none") as caught:
        convert(job(digits(), images(1, 0)), "int8", tmp_path)
    assert "calibration" in caught.value.hint


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tf_keras" else found(name)
    )
    with pytest.raises(UnsupportedError, match="tf_keras is not installed") as caught:
        convert(job(digits(), images(1, 0)), "fp32", tmp_path)
    assert caught.value.hint == "pip install 'marsmith[tflite]'"


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_modules_give_equal_bytes(
    made: Callable[[str], Made], tmp_path: Path, precision: str
) -> None:
    again = convert_digits(precision, tmp_path)[1]
    digests = {
        hashlib.sha256(each.model.read_bytes()).hexdigest() for each in (made(precision)[1], again)
    }
    assert len(digests) == 1


@pytest.mark.slow
def test_what_has_no_dynamic_batch_there_is_run_row_by_row(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(6, 5, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.lstm(x)[0]
            return found

    module = Recurrent()
    artifact = convert(job(module, torch.rand(2, 4, 6)), "fp32", tmp_path)
    assert artifact.options["rows"] == 1
    x = torch.rand(3, 4, 6)
    torch.testing.assert_close(loaded(artifact)({"input_0": x})["output"], module(x))


@pytest.mark.slow
def test_resnet50(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, image = resnet50.model(), resnet50.photographs(resnet50.HELD_OUT, 3)
    resnet50.settle(module)
    artifact = convert(job(module, image[:2]), "fp32", tmp_path)
    with torch.inference_mode():
        expected = module(image)
    output = loaded(artifact)({"input_0": image})["output"]
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=0)
