"""What is in an archive of somebody else's, without running any of it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from marsmith.errors import ArchiveError
from marsmith.foreign import examine
from marsmith.foreign.plan import verdict
from tests.support import foreign_archives as foreign
from tests.support.changed_archives import contents, repack

OWN = """
import json
import rapidfuzz
from ts.torch_handler.base_handler import BaseHandler
raise SystemExit("it was run")

class Nearest(BaseHandler):
    def preprocess(self, data):
        import no_such_package
"""


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo run",)


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files: dict[str, str | bytes] = {
        "birds.pth": foreign.state(foreign.net()), "net.py": foreign.NET,
        "index_to_name.json": foreign.index(), "needs.txt": "# a comment\nrapidfuzz>=3\n",
        "config.yaml": "batchSize: 8\nmaxBatchDelay: 0\nresponseTimeout: 30\nstartupTimeout: '6'\n",
    }  # fmt: skip
    return foreign.pack(
        tmp_path_factory.mktemp("birds"), "image_classifier", files, model="birds.pth",
        model_file="net.py", extra=["index_to_name.json"], config="config.yaml",
        requirements="needs.txt",
    )  # fmt: skip


def test_one_of_torchserves_own_handlers_is_known(birds: Path) -> None:
    found = examine.examine(birds)
    assert (found.name, found.version, found.handler) == ("birds", "2.0", "image_classifier")
    assert (found.kind, found.source) == ("image_classifier", None)
    assert (found.model, found.form, found.model_file) == ("birds.pth", examine.PICKLE, "net.py")
    assert found.requirements == ("rapidfuzz>=3",)
    assert set(found.imports) == {"torch"}
    said = "\n".join(found.wrong)
    assert "maxBatchDelay: 0 becomes 100 ms" in said
    assert "startupTimeout: '6' is no whole number" in said
    assert "install_py_dep_per_model=true alone" in said
    (pickled,) = found.pickles.values()
    assert "torch._utils._rebuild_tensor_v2" in pickled.called
    assert found.harmful == []
    assert "`marsmith adopt` makes a recipe of it, of the task image_classification" in verdict(
        found
    )


def test_a_handler_of_its_own_is_read_and_not_run(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"own.py": OWN, "model.onnx": b"\x08"}
    found = examine.examine(foreign.pack(tmp_path, "own.py", files, model="model.onnx"))
    assert found.source
    assert (found.kind, found.source.methods) == ("base_handler", ("preprocess",))
    assert set(found.imports) == {"no_such_package", "rapidfuzz", "ts"}
    assert found.form == examine.ONNX


def test_a_pickle_that_would_do_harm_is_named_and_not_run(tmp_path: Path) -> None:
    handler = "class A:\n    pass\n\nclass B:\n    pass\n"
    files: dict[str, str | bytes] = {
        "own.py": handler,
        "extra.bin": pickle.dumps(Harmful()),
        "words.txt": "class\nA\n",
    }
    path = foreign.pack(tmp_path, "own.py", files, extra=["extra.bin", "words.txt"])
    found = examine.examine(path)
    assert set(found.pickles) == {"extra.bin"}
    assert found.harmful == ["posix.system"]
    assert "posix.system, which no model needs: don't serve it" in verdict(found)
    assert any("own.py defines 2 classes: TorchServe wants exactly one" in e for e in found.wrong)


def test_the_pickles_within_torchscript_are_none(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"birds.pt": foreign.scripted(foreign.net())}
    found = examine.examine(foreign.pack(tmp_path, "image_classifier", files, model="birds.pt"))
    assert (found.form, found.pickles) == (examine.TORCHSCRIPT, {})


def test_what_the_manifest_names_lies_in_the_archive(birds: Path, tmp_path: Path) -> None:
    files = contents(birds)
    (tmp_path / "outside.yaml").write_text("batchSize: 1")
    manifest = files["MAR-INF/MANIFEST.json"].replace(b"config.yaml", b"../../outside.yaml")
    moved = repack({**files, "MAR-INF/MANIFEST.json": manifest}, tmp_path / "moved.mar")
    with pytest.raises(ArchiveError, match=r"configFile, '../../outside\.yaml', is not in it"):
        examine.examine(moved)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="there is no archive"):
        examine.examine(tmp_path / "none.mar")
    (tmp_path / "text.mar").write_text("text")
    with pytest.raises(ArchiveError):
        examine.examine(tmp_path / "text.mar")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"0": "a", "1": ["n1", "b"]}', {0: "a", 1: "b"}),
        ('{"object_type_names": ["a", "b"]}', {0: "a", 1: "b"}),
    ],
)
def test_labels_are_read_as_torchserve_reads_them(
    tmp_path: Path, text: str, names: dict[int, str]
) -> None:
    (tmp_path / "index.json").write_text(text)
    assert examine.read_labels(tmp_path / "index.json") == names
    (tmp_path / "index.json").write_text('{"a": 1}')
    with pytest.raises(ValueError):
        examine.read_labels(tmp_path / "index.json")


def test_a_whole_module_is_a_pickle(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    assert examine.form_of(tmp_path / "whole.pt") == examine.PICKLE


@pytest.mark.parametrize(
    "text",
    [b"\xff\xfe", b"a = 1\0", b"class A:\n", b"x = " + b"(" * 5000, b"x = " + b"-" * 90_000 + b"1"],
)
def test_a_handler_that_is_no_python_is_refused_whatever_it_is(tmp_path: Path, text: bytes) -> None:
    path = foreign.pack(tmp_path, "own.py", {"own.py": text})
    with pytest.raises(ArchiveError, match=r"the handler own\.py isn't Python"):
        examine.examine(path)


def test_code_beside_the_handler_may_be_anything(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "own.py": OWN, "deep.py": b"if a" + b".b" * 5000 + b":\n    import os\n", "no.py": b"\xff",
    }  # fmt: skip
    found = examine.examine(foreign.pack(tmp_path, "own.py", files, extra=["deep.py", "no.py"]))
    assert set(found.imports) == {"no_such_package", "rapidfuzz", "ts"}


def test_harm_that_begins_unlike_most_pickles_is_named(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"own.py": OWN, "a.pth": b"N0cposix\nsystem\n(S'x'\ntR."}
    found = examine.examine(foreign.pack(tmp_path, "own.py", files, model="a.pth"))
    assert found.harmful == ["posix.system"]
