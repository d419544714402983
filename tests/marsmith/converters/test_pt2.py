from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch

from examples.digits import model
from handlers import runtimes
from handlers.errors import LoadError
from handlers.runtimes import Runtime
from marsmith.converters import Artifact
from marsmith.converters.pt2 import PRECISIONS, convert
from marsmith.errors import UnsupportedError
from tests.support.awkward_models import Branching, Words, words
from tests.support.converter_jobs import job

CPU = torch.device("cpu")
LENGTHS = {"input_0": (1,), "input_1": (1,)}


def load(artifact: Artifact) -> Runtime:
    return runtimes.load("pt2", artifact.model, CPU, artifact.options)


def made() -> Words:
    torch.manual_seed(0)
    return Words()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("package")
    artifact = convert(job(made(), *words(1, 5), varying=LENGTHS), "fp32", folder)
    assert [file.name for file in folder.iterdir()] == ["model.pt2"]
    return artifact


@pytest.mark.slow
def test_integer_inputs_of_any_length_and_outputs_by_name(
    package: Artifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # a worker needs no compiler
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    runtime, module = load(package), made()
    for rows, length in ((1, 1), (1, 6), (3, 7), (8, 4)):
        ids, mask = words(rows, length)
        outputs, expected = runtime({"input_1": mask, "input_0": ids}), module(ids, mask)
        assert list(outputs) == ["pooled", "tokens"]
        torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=0)
    assert list(tmp_path.iterdir()) == [], "and compiles nothing"


@pytest.mark.slow
def test_nothing_of_this_machine_is_in_a_package(package: Artifact) -> None:
    content = package.model.read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in content
    assert b"/tmp/" not in content
    assert b".cpp -D" not in content, "nor a compiler's command line"


def altered(package: Artifact, out: Path, **changes: str) -> Artifact:
    """The same package, saying that it was compiled for something else."""
    reader = torch._C.PyTorchFileReader(str(package.model))
    writer = torch._C.PyTorchFileWriter(str(out))
    for name in reader.get_all_records():
        data = reader.get_record(name)
        if name.endswith("_metadata.json"):
            data = json.dumps(json.loads(data) | changes).encode()
        if name not in ("version", "byteorder", ".data/serialization_id"):
            writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    return dataclasses.replace(package, model=out)


@pytest.mark.slow
def test_a_package_for_another_machine_says_so_before_any_of_it_runs(
    package: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model.pt2"
    with pytest.raises(LoadError, match="was compiled for cuda and runs on cpu here"):
        load(altered(package, out, AOTI_DEVICE_KEY="cuda"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_tile": False})
    with pytest.raises(LoadError, match="for another machine: this CPU has no AMX_TILE"):
        load(altered(package, out, AOTI_CPU_ISA="AVX2 AMX_TILE"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for_gpu = {"AOTI_DEVICE_KEY": "cuda", "AOTI_COMPUTE_CAPABILITY": "80"}
    there = altered(package, out, **for_gpu)
    with pytest.raises(LoadError, match="for GPUs of compute capability 80; this one has 90"):
        runtimes.load("pt2", there.model, torch.device("cuda"), there.options)


def test_without_a_compiler_there_is_no_pt2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = job(model(), torch.rand(1, 1, 8, 8))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UnsupportedError, match=r"there is no g\+\+ or clang\+\+ here") as caught:
        convert(given, "fp32", tmp_path)
    assert "apt-get install g++" in caught.value.hint
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UnsupportedError, match="there is no no-such-compiler here"):
        convert(given, "fp32", tmp_path)


def test_what_cannot_be_exported_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"torch\.export can't express this model: \w+"):
        convert(job(Branching(), torch.rand(1, 3)), "fp32", tmp_path)


def test_torchscript_and_int8_are_refused(tmp_path: Path) -> None:
    image = torch.rand(1, 1, 8, 8)
    with pytest.raises(UnsupportedError, match="a TorchScript file can't become pt2"):
        convert(job(torch.jit.script(model()), image), "fp32", tmp_path)
    with pytest.raises(UnsupportedError, match="AOTInductor runs no int8; it runs fp32"):
        convert(job(model(), image), "int8", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_gives_the_modules_answers_in_equal_bytes(
    tmp_path: Path, precision: str
) -> None:
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        torch.manual_seed(0)
        module = model()
        artifact = convert(job(module, torch.rand(1, 1, 8, 8)), precision, tmp_path / name)
        digests.add(hashlib.sha256(artifact.model.read_bytes()).hexdigest())
        runtime = load(artifact)
        for rows in (1, 3, 8):
            image = torch.rand(rows, 1, 8, 8)
            output = runtime({"input_0": image})["output"]
            assert output.dtype == torch.float32
            assert torch.cosine_similarity(output, module(image)).min() > 0.999
    assert len(digests) == 1
