from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from examples.digits import model as digits
from handlers.runtimes import Runtime
from handlers.runtimes.onnx import load
from marsmith.converters.onnx import convert, export
from marsmith.errors import UnsupportedError
from marsmith.sources.onnx import OnnxModule
from tests.support.awkward_models import Branching, Starred, Words, words
from tests.support.converter_jobs import job
from tests.support.onnx_files import write
from tests.support.weighty_models import Weighty, tokens

CPU = torch.device("cpu")


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


CALIBRATION = [{"input_0": images(16, seed)} for seed in range(1, 4)]


def layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """An untrained digits model, and what `export` writes of it."""
    torch.manual_seed(0)
    module, path = digits(), tmp_path_factory.mktemp("digits") / "digits.onnx"
    export(job(module, images(1)), path)
    return module, path


@pytest.fixture(scope="module")
def words_runtime(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Runtime]:
    """A model of token ids whose number varies, and the same loaded again."""
    made = job(Words(), *words(1, 1), varying={"input_0": (1,), "input_1": (1,)})
    artifact = convert(made, "fp32", tmp_path_factory.mktemp("words"))
    return made.module, load(artifact.model, CPU, **artifact.options)


@pytest.mark.parametrize(("rows", "length"), [(1, 1), (3, 7), (8, 2), (1, 40)])
def test_integers_of_any_number_go_in_and_named_outputs_come_out(
    words_runtime: tuple[nn.Module, Runtime], rows: int, length: int
) -> None:
    module, runtime = words_runtime
    ids, mask = words(rows, length)
    outputs = runtime({"input_1": mask, "input_0": ids})
    expected = module(ids, mask)
    assert list(outputs) == list(expected) == ["pooled", "tokens"]
    for name, tensor in expected.items():
        torch.testing.assert_close(outputs[name], tensor, atol=1e-5, rtol=0)


class Namesake(nn.Module):
    """Names an output as its layer's output is named within."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 4)

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"embedding": self.embedding(ids).sum(1)}


def test_an_output_may_have_the_name_of_a_value_within(tmp_path: Path) -> None:
    ids = torch.randint(0, 50, (2, 3))
    module = Namesake()
    artifact = convert(job(module, ids), "fp32", tmp_path)
    outputs = load(artifact.model, CPU)({"input_0": ids})
    torch.testing.assert_close(outputs["embedding"], module(ids)["embedding"])


def test_an_output_may_be_an_input(tmp_path: Path) -> None:
    inputs = torch.rand(2, 3), torch.rand(2, 3)
    made = job(Starred(), *inputs)
    outputs = load(convert(made, "fp32", tmp_path).model, CPU)(made.batch)
    assert torch.equal(outputs["first"], inputs[0])


@pytest.mark.parametrize(
    ("precision", "cosine"),
    [("fp32", 1 - 1e-5), ("fp16", 0.9999), ("int8", 0.99), ("int8_dynamic", 0.99)],
)
def test_every_precision_is_near_the_original_and_equal_to_itself(
    exported: tuple[nn.Module, Path], tmp_path: Path, precision: str, cosine: float
) -> None:
    module, path = exported
    made = job(OnnxModule(path), images(1), calibration=CALIBRATION)
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        artifact = convert(made, precision, tmp_path / name)
        assert [file.name for file in (tmp_path / name).iterdir()] == ["model.onnx"]
        written.append(artifact.model.read_bytes())
    assert written[0] == written[1]
    assert str(tmp_path.parent).encode() not in written[0]
    runtime = load(artifact.model, CPU, **artifact.options)
    for rows in (1, 3, 8):
        output = runtime({"image": images(rows)})["output"]
        assert output.dtype == torch.float32
        assert torch.cosine_similarity(output, module(images(rows))).min() > cosine
    assert precision == "fp32" or artifact.size < path.stat().st_size


@pytest.mark.parametrize("precision", ["int8", "int8_dynamic"])
@pytest.mark.parametrize(
    ("here", "portable", "bits", "needed"),
    [({"vnni"}, False, 8, ("vnni",)), ({"vnni"}, True, 7, ()), ((), False, 7, ())],
    ids=str,
)
def test_weights_have_8_bits_where_that_is_exact_and_asked_for(
    exported: tuple[nn.Module, Path],
    tmp_path: Path,
    precision: str,
    here: set[str],
    portable: bool,
    bits: int,
    needed: tuple[str, ...],
) -> None:
    made = job(OnnxModule(exported[1]), images(1), calibration=CALIBRATION, portable=portable)
    artifact = convert(dataclasses.replace(made, instructions=frozenset(here)), precision, tmp_path)
    assert artifact.instructions == needed
    weights = [
        onnx.numpy_helper.to_array(each)
        for each in onnx.load(artifact.model).graph.initializer
        if each.data_type == onnx.TensorProto.INT8 and len(each.dims) > 1
    ]
    assert weights
    assert max(int(abs(each.astype(int)).max()) for each in weights) == 2 ** (bits - 1) - (
        0 if bits == 7 else 1
    )


def test_equal_modules_give_equal_bytes_with_no_source_lines_in_them(tmp_path: Path) -> None:
    export(job(layers(), torch.rand(2, 3)), tmp_path / "a.onnx")
    export(job(layers(), torch.rand(1, 3)), tmp_path / "b.onnx")
    written = (tmp_path / "a.onnx").read_bytes()
    assert written == (tmp_path / "b.onnx").read_bytes()
    assert b"stack_trace" not in written
    assert Path(__file__).parent.as_posix().encode() not in written


def test_a_file_with_weights_beside_it_becomes_one(tmp_path: Path) -> None:
    inputs = torch.rand(2, 3), torch.tensor([[1], [2]])
    for weights in ("", "weights"):
        path = write(tmp_path / "given.onnx", weights=weights)
        (tmp_path / "out").mkdir(exist_ok=True)
        artifact = convert(job(OnnxModule(path), *inputs), "fp32", tmp_path / "out")
        for file in (path, tmp_path / "weights"):
            file.unlink(missing_ok=True)
        outputs = load(artifact.model, CPU)({"x": inputs[0], "ids": inputs[1]})
        assert outputs["rows"].tolist() == [[[2, 3]], [[4, 5]]]


class Eigenvalues(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.linalg.eigvals(x).real
        return found


class Echo(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"input_0": x + 1}


@pytest.mark.parametrize(
    ("make", "size", "message"),
    [
        (Eigenvalues, (2, 3, 3), r"ONNX has no operator for torch's aten\.linalg_eig"),
        (Branching, (2, 3), "torch.export can't express this model: .*data-dependent"),
        (Echo, (2, 3), "input_0 names both an input and an output"),
        (lambda: torch.jit.script(layers()), (2, 3), "a TorchScript file can't become ONNX"),
        (lambda: Big(), (2, 3), "at most 2 GiB; this model's weights are 2.6 GiB"),
    ],
)
def test_what_onnx_cannot_express_is_said(
    tmp_path: Path, make: Callable[[], nn.Module], size: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        convert(job(make(), torch.rand(size)), "fp32", tmp_path)
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


class Big(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(700_000_000, device="meta"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


@pytest.mark.parametrize(
    ("precision", "device", "message"),
    [
        ("int8", "cpu", "int8 needs calibration data"),
        ("bf16", "cpu", "no fast kernels for bf16"),
        ("int8_weight", "cpu", "no fast kernels for int8_weight"),
        ("int4_weight", "cuda", "for CPUs"),
        ("int8", "cuda", "int8 on a GPU through TensorRT only"),
        ("int8_dynamic", "cuda", "int8_dynamic on a GPU through TensorRT only"),
    ],
)
def test_what_onnx_runtime_cannot_run_is_said(
    tmp_path: Path, precision: str, device: str, message: str
) -> None:
    made = dataclasses.replace(job(layers(), torch.rand(2, 3)), device=torch.device(device))
    with pytest.raises(UnsupportedError, match=message):
        convert(made, precision, tmp_path)


def test_of_weights_only_nothing_else_is_rounded(tmp_path: Path) -> None:
    module = Weighty(4, last_bits=4)
    export(job(module, tokens(2, 3), varying={"input_0": (1,)}), tmp_path / "exported.onnx")
    made = job(OnnxModule(tmp_path / "exported.onnx"), tokens(2, 3))
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        artifact = convert(made, "int4_weight", tmp_path / name)
        written.append(artifact.model.read_bytes())
    assert written[0] == written[1]
    assert artifact.instructions == ()
    plain = sum(parameter.nbytes for parameter in module.parameters())
    assert artifact.size < plain / 5
    runtime = load(artifact.model, CPU, **artifact.options)
    for rows, length in ((1, 1), (3, 40)):
        output = runtime({"input_0": tokens(rows, length)})["output"]
        expected = module(tokens(rows, length))
        assert (output - expected).abs().max() < 1e-3 * expected.abs().max()


class Embedded(nn.Module):
    """Token ids to scores, through layers over each token and, at last, over each text."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 64)
        self.layer, self.last = nn.Linear(64, 64), nn.Linear(64, 40)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.last(self.layer(self.embedding(ids)).relu().mean(1))
        return scores


def test_linear_layers_have_4_bits_and_embeddings_8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, 50, (3, 5))
    made = job(Embedded(), ids, varying={"input_0": (1,)})
    artifact = convert(made, "int4_weight", tmp_path)
    graph = onnx.load(artifact.model).graph
    assert [node.op_type for node in graph.node].count("MatMulNBits") == 2
    assert [50, 64] in [list(x.dims) for x in graph.initializer if x.data_type in (2, 3)]
    output = load(artifact.model, CPU, **artifact.options)({"input_0": ids})["output"]
    assert torch.cosine_similarity(output, made.module(ids)).min() > 0.98


@pytest.mark.parametrize("precision", ["int8", "int8_dynamic", "int4_weight"])
def test_a_model_with_nothing_to_quantise_is_said(tmp_path: Path, precision: str) -> None:
    text = '<ir_version: 8, opset_import: ["": 18]> m (float[n, 3] x) => (float[n, 3] y) '
    module = OnnxModule(write(tmp_path / "given.onnx", text + "{ y = Softmax (x) }"))
    batch = {"input_0": torch.rand(2, 3)}
    made = job(module, *batch.values(), calibration=[batch])
    with pytest.raises(UnsupportedError, match="to quantise"):
        convert(made, precision, tmp_path)


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    missing = {"onnxscript"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in missing else found(name)
    )
    with pytest.raises(UnsupportedError, match="onnxscript is not installed") as caught:
        convert(job(layers(), torch.rand(2, 3)), "fp32", tmp_path)
    assert caught.value.hint == "pip install 'marsmith[onnx]'"
