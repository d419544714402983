from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from examples.digits import model
from marsmith.cache import Cache
from marsmith.errors import BuildError
from marsmith.sources.pt2 import Pt2File


def loaded(path: Path) -> nn.Module:
    return Pt2File(pt2=path).load(Cache(path.parent), lambda line: None)


@pytest.fixture(scope="module")
def digits() -> nn.Module:
    torch.manual_seed(0)
    return model().eval()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, digits: nn.Module) -> Path:
    return exported(tmp_path_factory.mktemp("program") / "model.pt2", digits, torch.export.Dim("n"))


def exported(path: Path, module: nn.Module, batch: torch.export.Dim | None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own parts, to each other
        shapes = ({0: batch},)
        program = torch.export.export(module, (torch.rand(2, 1, 8, 8),), dynamic_shapes=shapes)
        torch.export.save(program, path)
    return path


def test_it_is_the_module_in_evaluation(program: Path, digits: nn.Module) -> None:
    module = loaded(program)
    assert module.eval() is module
    for rows in (1, 3, 8):
        image = torch.rand(rows, 1, 8, 8)
        torch.testing.assert_close(module(image), digits(image))


def test_a_program_for_one_batch_size_is_refused(tmp_path: Path, digits: nn.Module) -> None:
    path = exported(tmp_path / "model.pt2", digits, None)
    with pytest.raises(BuildError, match="was exported for batches of exactly 2") as caught:
        loaded(path)
    assert "dynamic_shapes" in caught.value.hint


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.file),)


def pickled(thing: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def marked_as_pickle(config: bytes) -> bytes:
    changed = json.loads(config)
    for payload in changed["config"].values():
        payload["use_pickle"] = True
    return json.dumps(changed).encode()


@pytest.mark.parametrize(
    ("record", "content"),
    [
        ("model/data/sample_inputs/model.pt", lambda old, bomb: pickled(bomb)),
        ("model/data/constants/opaque_obj_0", lambda old, bomb: pickled(bomb)),
        ("model/data/weights/model.pt", lambda old, bomb: pickled({"x": bomb})),
        (
            "model/data/weights/model_weights_config.json",
            lambda old, bomb: marked_as_pickle(old),
        ),
        ("version", lambda old, bomb: b"8.20"),
    ],
    ids=["inputs", "constant", "weights", "payload", "old format"],
)
def test_a_pickle_with_code_in_it_is_refused_and_nothing_of_it_runs(
    program: Path, tmp_path: Path, record: str, content: Callable[[bytes, Bomb], bytes]
) -> None:
    path, hit = tmp_path / "model.pt2", tmp_path / "hit"
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if name != record:
                new.writestr(name, old.read(name))
        before = old.read(record) if record in old.namelist() else b""
        new.writestr(record, content(before, Bomb(hit)))
    with pytest.raises(BuildError, match=r"model\.pt2 keeps .* as a pickle"):
        loaded(path)
    assert not hit.exists()


def test_a_compiled_package_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as package:
        package.writestr("model/data/aotinductor/model/model.wrapper.so", b"")
    with pytest.raises(BuildError, match="is a compiled package, and not a program"):
        loaded(tmp_path / "model.pt2")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip"], ids=["empty", "zip"])
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt2").write_bytes(content)
    with pytest.raises(BuildError, match=r"model\.pt2 is not an exported program: ."):
        loaded(tmp_path / "model.pt2")


def test_torchscript_and_damaged_programs_are_refused_by_name(
    program: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt2"
    torch.jit.save(torch.jit.script(nn.Linear(3, 2)), str(path))
    with pytest.raises(BuildError, match=r"model\.pt2 is not an exported program"):
        loaded(path)
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name)[: 100 if name.endswith("model.json") else None])
    with pytest.raises(BuildError, match=r"model\.pt2 is not an exported program"):
        loaded(path)
    with pytest.raises(BuildError, match="there is no exported program"):
        loaded(tmp_path / "nowhere.pt2")
