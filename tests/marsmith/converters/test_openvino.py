from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from examples.digits import model as digits
from handlers.runtimes.openvino import load
from marsmith.converters import Artifact, Job
from marsmith.converters.onnx import export
from marsmith.converters.openvino import convert
from marsmith.errors import UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.sources.onnx import OnnxModule
from tests.support.awkward_models import Words, words
from tests.support.converter_jobs import job
from tests.support.onnx_files import write
from tests.support.weighty_models import Weighty, tokens

CPU = torch.device("cpu")


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def has_bf16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


CALIBRATION = [{"input_0": images(16, seed)} for seed in range(1, 4)]


class Attention(nn.Module):
    """Its scores are masked with minus infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids)
        scores = self.query(x) @ self.key(x).transpose(1, 2) / 4
        scores = scores.masked_fill(mask[:, None] == 0, -torch.inf).softmax(-1)
        found: torch.Tensor = (scores @ self.value(x)).sum(1)
        return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """An untrained digits model, and its ONNX file: exporting takes longest."""
    torch.manual_seed(0)
    module, path = digits(), tmp_path_factory.mktemp("digits") / "digits.onnx"
    export(job(module, images(1)), path)
    return module, path


def test_named_tensors_of_any_size_go_in_and_come_out(tmp_path: Path) -> None:
    made = job(Words(), *words(2, 3), varying={"input_0": (1,), "input_1": (1,)})
    artifact = convert(made, "fp32", tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.bin", "model.xml"]
    assert {artifact.model, *artifact.files} == set(tmp_path.iterdir())
    runtime = load(artifact.model, CPU, **artifact.options)
    for rows, length in ((1, 1), (3, 7), (8, 2)):
        ids, mask = words(rows, length)
        expected = made.module(ids, mask)
        outputs = runtime({"input_1": mask, "input_0": ids})
        assert list(outputs) == ["pooled", "tokens"]
        for name, tensor in expected.items():
            torch.testing.assert_close(outputs[name], tensor, atol=1e-5, rtol=0)


def converted_twice(made: Job, precision: str, folder: Path) -> tuple[Artifact, list[bytes]]:
    """The same artifact each time, and the bytes of its files."""
    written = []
    for name in ("a", "b"):
        (folder / name).mkdir()
        artifact = convert(made, precision, folder / name)
        written.append([file.read_bytes() for file in (artifact.model, *artifact.files)])
    assert written[0] == written[1]
    return artifact, written[0]


@pytest.mark.parametrize(
    ("precision", "cosine"),
    [
        ("fp32", 1 - 1e-5),
        pytest.param("bf16", 0.999, marks=pytest.mark.skipif(not has_bf16(), reason="no bf16")),
        ("fp16", 0.9999),
        ("int8", 0.99),
        ("int8_dynamic", 0.99),
        ("int8_weight", 0.999),
    ],
)
def test_every_precision_is_near_the_original_and_equal_to_itself(
    exported: tuple[nn.Module, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    precision: str,
    cosine: float,
) -> None:
    module, path = exported
    made = job(OnnxModule(path), images(1), calibration=CALIBRATION)
    artifact, written = converted_twice(made, precision, tmp_path)
    assert str(tmp_path).encode() not in written[0]
    assert capfd.readouterr() == ("", "")
    assert precision in ("fp32", "bf16") or artifact.files[0].stat().st_size < 0.6 * sum(
        parameter.nbytes for parameter in module.parameters()
    )
    runtime = load(artifact.model, CPU, **artifact.options)
    for rows in (1, 3, 8):
        output = runtime({"image": images(rows)})["output"]
        assert torch.cosine_similarity(output, module(images(rows))).min() > cosine


def test_attention_survives_int8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    batches = [dict(zip(("input_0", "input_1"), words(4, 6), strict=True)) for _ in range(8)]
    varying = {"input_0": (1,), "input_1": (1,)}
    made = job(Attention(), *batches[0].values(), calibration=batches, varying=varying)
    artifact = convert(made, "int8", tmp_path)
    ids, mask = words(8, 5)
    output = load(artifact.model, CPU, **artifact.options)({"input_0": ids, "input_1": mask})
    expected = made.module(ids, mask)
    assert torch.cosine_similarity(output["output"], expected).min() > 0.99


@pytest.mark.parametrize(("precision", "bits"), [("int8_weight", 8), ("int4_weight", 4)])
def test_of_weights_only_nothing_else_is_rounded(tmp_path: Path, precision: str, bits: int) -> None:
    module = Weighty(bits, last_bits=8)
    export(job(module, tokens(2, 3), varying={"input_0": (1,)}), tmp_path / "exported.onnx")
    made = job(OnnxModule(tmp_path / "exported.onnx"), tokens(2, 3))
    made = dataclasses.replace(made, instructions=frozenset({"vnni"}))
    artifact, written = converted_twice(made, precision, tmp_path)
    assert artifact.instructions == (), "activations aren't integers"
    plain = sum(parameter.nbytes for parameter in module.parameters())
    assert len(written[1]) < plain * bits / 32 * 1.4, "of 4 bits, groups have scales"
    runtime = load(artifact.model, CPU, **artifact.options)
    for rows, length in ((1, 1), (3, 40)):
        output = runtime({"input_0": tokens(rows, length)})["output"]
        expected = module(tokens(rows, length))
        assert (output - expected).abs().max() < 1e-3 * expected.abs().max()


def passages() -> list[bytes]:
    """Request bodies, of as many tokens each."""
    arrays = (tokens(1, 6)[0].numpy() * scale for scale in (1, 2, 3))
    return [json.dumps({"x": array.tolist()}).encode() for array in arrays]


def weighty() -> nn.Module:
    return Weighty(4, last_bits=8)


@pytest.mark.slow
def test_an_archive_of_4_bits_answers_as_the_original(tmp_path: Path) -> None:
    recipe = {
        "name": "weighty", "task": "tensors", "source": {"factory": f"{__name__}:weighty"},
        "runtime": "openvino", "precision": "int4_weight",
        "handler": {"inputs": {"x": {"shape": [6, 256], "datatype": "FP32"}}},
        "evaluation": {"data": f"{__name__}:passages"},
        "accept": {"min_cosine": 0.9999},
    }  # fmt: skip
    assert build(recipe, tmp_path)
    with Harness(tmp_path / "weighty.mar") as harness:
        for body in passages():
            (answer,) = harness.predict([Request.raw(body, "application/json")])
            (found,) = answer.json().values()
            expected = weighty()(torch.tensor(json.loads(body)["x"])[None])[0]
            assert (torch.tensor(found) - expected).abs().max() < 1e-3 * expected.abs().max()


def test_weights_of_any_size_in_4_bits_are_near_the_original(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 64))
    artifact = convert(job(module, tokens(2, 3)), "int4_weight", tmp_path)
    output = load(artifact.model, CPU, **artifact.options)({"input_0": tokens(2, 3)})["output"]
    assert torch.cosine_similarity(output, module(tokens(2, 3)), dim=-1).min() > 0.98


@pytest.mark.parametrize("precision", ["int8_dynamic", "int8_weight", "int4_weight"])
def test_a_model_with_nothing_to_compress_is_said(tmp_path: Path, precision: str) -> None:
    text = '<ir_version: 8, opset_import: ["": 18]> m (float[n, 3] x) => (float[n, 3] y) '
    module = OnnxModule(write(tmp_path / "given.onnx", text + "{ y = Softmax (x) }"))
    (tmp_path / "out").mkdir()
    with pytest.raises(UnsupportedError, match="nothing to compress"):
        convert(job(module, torch.rand(2, 3)), precision, tmp_path / "out")


def test_convolutions_have_no_4_bits(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.Conv2d(64, 8, 3))
    with pytest.raises(UnsupportedError, match="nothing to compress to 4 bits") as caught:
        convert(job(module, images(2)), "int4_weight", tmp_path)
    assert caught.value.hint == "use int8_weight"


def test_8_bits_of_a_weight_are_nearer_than_7_and_said_to_need_vnni(
    exported: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    rounded = []
    for name, portable in (("whole", False), ("portable", True)):
        made = job(OnnxModule(exported[1]), images(1), calibration=CALIBRATION, portable=portable)
        made = dataclasses.replace(made, instructions=frozenset({"vnni"}))
        (tmp_path / name).mkdir()
        artifact = convert(made, "int8", tmp_path / name)
        assert artifact.instructions == (() if portable else ("vnni",))
        rounded.append(artifact.files[0].read_bytes())
    assert rounded[0] != rounded[1]


@pytest.mark.skipif(has_bf16(), reason="this CPU has bf16")
def test_bf16_that_could_not_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="this CPU has no bf16 instructions"):
        convert(job(digits(), images(1)), "bf16", tmp_path)


def test_int8_without_calibration_data_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="int8 needs calibration data"):
        convert(job(digits(), images(1)), "int8", tmp_path)


def test_gpus_are_left_to_others(tmp_path: Path) -> None:
    made = dataclasses.replace(job(digits(), images(1)), device=torch.device("cuda"))
    with pytest.raises(UnsupportedError, match="openvino runs on the CPU only"):
        convert(made, "fp32", tmp_path)


@pytest.mark.parametrize("missing", ["openvino", "nncf"])
def test_a_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else found(name)
    )
    made = job(digits(), images(1), calibration=CALIBRATION)
    with pytest.raises(UnsupportedError, match=f"{missing} is not installed") as caught:
        convert(made, "int8", tmp_path)
    assert caught.value.hint == "pip install 'marsmith[openvino]'"
