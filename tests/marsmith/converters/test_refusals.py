"""What a source gives and a converter can't take is refused, with where it can go."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from marsmith.cache import Cache
from marsmith.converters import Job, pt2, torchscript
from marsmith.converters._refusals import refuse_exported, refuse_onnx, refuse_torchscript
from marsmith.errors import UnsupportedError
from marsmith.sources.onnx import OnnxFile as OnnxSource
from marsmith.sources.pt2 import Pt2File as Pt2Source
from tests.support.converter_jobs import job
from tests.support.onnx_files import write


def of_onnx(folder: Path) -> Job:
    source = OnnxSource(onnx=write(folder / "model.onnx"))
    module = source.load(Cache(folder), lambda line: None)
    return job(module, torch.ones(1, 3), torch.ones(1, 1))


def of_a_program(folder: Path) -> Job:
    path = folder / "model.pt2"
    rows = torch.export.Dim("rows")
    program = torch.export.export(nn.Linear(3, 2), (torch.rand(2, 3),), dynamic_shapes=({0: rows},))
    torch.export.save(program, path)
    source = Pt2Source(pt2=path)
    given = job(source.load(Cache(folder), lambda line: None), torch.rand(2, 3), trace=True)
    return dataclasses.replace(given, source=source)


def test_an_onnx_file_becomes_neither_torchscript_nor_pt2(tmp_path: Path) -> None:
    given = of_onnx(tmp_path)
    for converter, form in ((torchscript, "TorchScript"), (pt2, "pt2")):
        with pytest.raises(UnsupportedError, match=f"an ONNX file can't become {form}") as caught:
            converter.convert(given, "fp32", tmp_path)
        assert caught.value.hint == "convert it to onnx, openvino, tflite or tf_savedmodel"


@pytest.mark.filterwarnings("ignore")  # of torch's own parts, to each other
def test_a_program_becomes_no_torchscript(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="an exported program can't become") as caught:
        torchscript.convert(of_a_program(tmp_path), "fp32", tmp_path)
    assert "pt2, onnx" in caught.value.hint


def test_torchscript_becomes_no_pt2(tmp_path: Path) -> None:
    given = job(torch.jit.script(nn.Linear(3, 2)), torch.rand(2, 3))
    with pytest.raises(UnsupportedError, match="a TorchScript file can't become pt2") as caught:
        pt2.convert(given, "fp32", tmp_path)
    assert caught.value.hint == "convert it to torchscript"


def test_a_module_is_refused_by_none() -> None:
    given = job(nn.Linear(3, 2), torch.rand(2, 3))
    for refuse in (refuse_onnx, refuse_exported, refuse_torchscript):
        refuse(given, "anything")
