from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from marsmith.cache import Cache
from marsmith.errors import BuildError
from marsmith.pipeline.original import made_from
from marsmith.sources.onnx import OnnxFile, OnnxModule
from tests.support.converter_jobs import job
from tests.support.onnx_files import write


def load(path: Path) -> torch.nn.Module:
    return OnnxFile(onnx=path).load(Cache(path.parent), lambda line: None)


def test_a_file_is_a_module_with_named_outputs(tmp_path: Path) -> None:
    module = copy.deepcopy(load(write(tmp_path / "model.onnx")))
    assert isinstance(module, OnnxModule)
    assert not module.training
    x, ids = torch.rand(3, 3), torch.tensor([[0], [1], [3]])
    outputs = module(x, ids)
    torch.testing.assert_close(outputs["scaled"], x * torch.tensor([1.0, 2.0, 3.0]))
    assert outputs["rows"].tolist() == [[[0, 1]], [[2, 3]], [[6, 7]]]


def test_weights_may_lie_beside_it(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", weights="weights")
    assert load(path)(torch.ones(1, 3), torch.ones(1, 1))["scaled"].tolist() == [[1, 2, 3]]
    (tmp_path / "weights").unlink()
    with pytest.raises(BuildError, match=r"model\.onnx"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x08\x08"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "damaged.onnx").write_bytes(content)
    with pytest.raises(BuildError, match=r"damaged\.onnx is not a valid ONNX file: .+"):
        load(tmp_path / "damaged.onnx")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"there is no ONNX file .*none\.onnx"):
        load(tmp_path / "none.onnx")


def test_strings_and_sequences_are_refused(tmp_path: Path) -> None:
    head = '<ir_version: 8, opset_import: ["": 18]> m '
    for text, name in (
        ("(string[n] x) => (string[n] y) { y = Identity (x) }", "'x'"),
        ("(float[n] x) => (seq(float[n]) y) { y = SequenceConstruct (x) }", "'y'"),
    ):
        with pytest.raises(BuildError, match=f"{name} is .*, not a tensor of numbers"):
            load(write(tmp_path / "model.onnx", head + text))


def test_an_operator_that_onnx_runtime_lacks_is_named(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 18, "mine": 1]>
    m (float[n] x) => (float[n] y) { y = mine.Frobnicate (x) }"""
    with pytest.raises(BuildError, match="Frobnicate"):
        load(write(tmp_path / "model.onnx", text))


def test_what_is_made_of_it_depends_on_the_weights_beside_it(tmp_path: Path) -> None:
    source = OnnxFile(onnx=write(tmp_path / "model.onnx", weights="weights"))
    module = source.load(Cache(tmp_path), lambda line: None)
    given = replace(job(module, torch.ones(1, 3), torch.ones(1, 1)), source=source)
    before = made_from(given)
    assert made_from(given) == before
    weights = bytearray((tmp_path / "weights").read_bytes())
    weights[3] ^= 1
    (tmp_path / "weights").write_bytes(weights)
    assert made_from(given) != before
