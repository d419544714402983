"""Archives of TorchServe's own handlers become archives of ours, which answer the same.

torchvision can't be imported beside a torch for CPUs alone, so TorchServe's image_classifier runs
here with its four transforms written by hand, in PIL and torch; all else of it, and of the worker,
is TorchServe's.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from handlers.images import run_lengths
from marsmith.errors import ArchiveError, BuildError
from marsmith.foreign.adopt import adopt
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.candidates import only
from marsmith.recipe import reading
from tests.support import foreign_archives as foreign

CONFIG = """
minWorkers: 2
maxWorkers: 1
batchSize: 3
maxBatchDelay: 0
responseTimeout: 30
startupTimeout: '60'
deviceType: cpu
pt2: {compile: {enable: true}}
"""
NUMBERS = """
import torch
from ts.torch_handler.base_handler import BaseHandler


class Numbers(BaseHandler):
    def preprocess(self, data):
        return torch.tensor([row["body"]["x"] for row in data])

    def postprocess(self, data):
        return [{"y": row} for row in data.tolist()]
"""


def onnx(module: torch.nn.Module, file: Path) -> bytes:
    inputs, batch = torch.zeros(2, 3, 224, 224), torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own parts
        program = torch.onnx.export(
            module, (inputs,), dynamo=True, dynamic_shapes=({0: batch},), input_names=["pixels"],
            output_names=["scores"], external_data=False, verbose=False,
        )  # fmt: skip
    assert program is not None
    program.save(file)
    return file.read_bytes()


def program_file(module: torch.nn.Module) -> bytes:
    file = io.BytesIO()
    inputs = (torch.zeros(2, 3, 224, 224),)
    exported = torch.export.export(module, inputs, dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(exported, file)
    return file.getvalue()


def packed(folder: Path, form: str, handler: str = "image_classifier", **files: str) -> Path:
    module = foreign.net()
    written: dict[str, Any] = {
        "index_to_name.json": foreign.index(),
        "config.yaml": CONFIG,
        **files,
    }
    name = {"torchscript": "b.pt", "state": "b.pth", "onnx": "b.onnx", "pt2": "b.pt2"}[form]
    if form == "torchscript":
        written[name] = foreign.scripted(module)
    elif form == "state":
        written |= {name: foreign.state(module), "birds_net.py": foreign.NET}
    elif form == "onnx":
        written[name] = onnx(module, folder.parent / name)
    else:
        written[name] = program_file(module)
    return foreign.pack(
        folder, handler, written, model=name, extra=["index_to_name.json"], config="config.yaml",
        model_file="birds_net.py" if form == "state" else "",
    )  # fmt: skip


def asked(archive: Path, bodies: Sequence[bytes], **env: str) -> list[Any]:
    with Harness(archive, env=env) as harness:
        answers = [harness.predict([Request.raw(body)])[0] for body in bodies]
        together = harness.predict([Request.raw(body) for body in bodies[:2]])
    assert [each.status for each in (*answers, *together)] == [200] * (len(bodies) + 2)
    return [each.json() for each in (*answers, *together)]


def by_hand(folder: Path) -> list[dict[str, float]]:
    """What the model says to the images, with nothing but PIL and torch."""
    from PIL import Image

    namespace: dict[str, Any] = {}
    exec(foreign.TRANSFORMS, namespace)  # noqa: S102 - the text is in tests/support
    steps = namespace["Compose"](
        [
            namespace["Resize"](256), namespace["CenterCrop"](224), namespace["ToTensor"](),
            namespace["Normalize"](foreign.MEAN, foreign.STD),
        ]
    )  # fmt: skip
    found = []
    for body in foreign.images():
        with torch.no_grad():
            logits = foreign.net()(steps(Image.open(io.BytesIO(body)))[None])
        scores, classes = logits.softmax(1).topk(5)
        names = [foreign.NAMES[number] for number in classes[0].tolist()]
        found.append(dict(zip(names, scores[0].tolist(), strict=True)))
    return found


def same(ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert list(mine) == list(other)
        assert mine == pytest.approx(other, abs=1e-5)


def built(archive: Path, folder: Path, *candidates: str) -> Path:
    recipe = reading.load(adopt(archive, folder / "adopted").recipe)
    recipe = only(recipe, candidates) if candidates else recipe
    build(recipe, folder / "store")
    return folder / "store" / f"{recipe.name}.mar"


def test_a_recipe_says_what_the_archive_did(tmp_path: Path) -> None:
    made = adopt(packed(tmp_path / "theirs", "state"), tmp_path / "out")
    said = yaml.safe_load(made.recipe.read_text())
    assert said["source"] == {"factory": "birds_net:Net", "checkpoint": "b.pth"}
    assert said["task"] == "image_classification"
    assert said["handler"] == {
        "resize": 256, "crop": 224, "mean": [*foreign.MEAN], "std": [*foreign.STD],
        "upright": False, "labels": "labels.json",
    }  # fmt: skip
    assert said["serving"] == {
        "min_workers": 2, "max_workers": 2, "batch_size": 3, "response_timeout_s": 30,
        "device": "cpu",
    }  # fmt: skip
    assert {file.name for file in made.files} == {"birds_net.py", "b.pth", "labels.json"}
    assert made.lost == ("pt2 of the configuration",)
    assert "#   pt2 of the configuration" in made.recipe.read_text()
    with pytest.raises(BuildError, match="not an empty folder"):
        adopt(tmp_path / "theirs" / "birds.mar", tmp_path / "out")


def test_labels_that_are_missing_or_equal_are_told(tmp_path: Path) -> None:
    index = '{"0": "crane", "2": "crane"}'
    made = adopt(
        packed(tmp_path / "theirs", "torchscript", **{"index_to_name.json": index}),
        tmp_path / "out",
    )
    assert yaml.safe_load((tmp_path / "out" / "labels.json").read_text()) == [
        "crane", "1", "crane (2)",
    ]  # fmt: skip
    assert "label 1: index_to_name.json has none" in made.lost


def test_one_of_ours_needs_no_recipe(digits_archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="marsmith's own"):
        adopt(digits_archive, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torchscript", "state"])
def test_an_image_classifier_answers_as_in_torchserves_worker(tmp_path: Path, form: str) -> None:
    theirs = packed(tmp_path / "theirs", form)
    path = os.fspath(foreign.torchvision_by_hand(tmp_path / "by_hand"))
    answers = asked(theirs, foreign.images(), PYTHONPATH=path)
    same(answers[: len(foreign.images())], by_hand(tmp_path))
    same(asked(built(theirs, tmp_path), foreign.images()), answers)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own, of its own
@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_models_that_its_handler_does_not_load_answer_the_same(tmp_path: Path, form: str) -> None:
    # A program's own runtime takes minutes to compile.
    archive = built(packed(tmp_path / "theirs", form), tmp_path, "onnx:fp32")
    same(asked(archive, foreign.images())[:-2], by_hand(tmp_path))


class Parts(torch.nn.Module):
    """Logits of four classes for each pixel, of its own colour alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.head = torch.nn.Conv2d(3, 4, 1)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": self.head(image)}


@pytest.mark.slow
def test_an_image_segmenter_finds_what_torchserves_worker_finds(tmp_path: Path) -> None:
    scripted = io.BytesIO()
    torch.jit.save(torch.jit.script(Parts().eval().requires_grad_(False)), scripted)
    files: dict[str, str | bytes] = {"p.pt": scripted.getvalue(), "config.yaml": CONFIG}
    theirs = foreign.pack(
        tmp_path / "theirs", "image_segmenter", files, model="p.pt", config="config.yaml"
    )
    square = [foreign.images()[2]] * 2  # of 256 pixels: nothing is resized
    path = os.fspath(foreign.torchvision_by_hand(tmp_path / "by_hand"))
    (answer, *_) = asked(theirs, square, PYTHONPATH=path)
    (ours, *_) = asked(built(theirs, tmp_path, "torchscript:fp32"), square)
    classes = run_lengths.decode(ours["classes"], ours["lengths"]).reshape(256, 256)
    edge = (256 - 224) // 2  # theirs is of the middle alone
    assert (classes[edge:-edge, edge:-edge] == np.array(answer)[..., 0]).all()
    assert len(np.unique(classes)) == 4


@pytest.mark.slow
def test_a_handler_of_bare_tensors_answers_as_in_torchserves_worker(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    scripted = io.BytesIO()
    torch.jit.save(torch.jit.script(module.eval().requires_grad_(False)), scripted)
    files: dict[str, str | bytes] = {"n.pt": scripted.getvalue(), "numbers_handler.py": NUMBERS}
    theirs = foreign.pack(tmp_path / "theirs", "numbers_handler.py", files, model="n.pt")
    rows = torch.rand(4, 4).tolist()
    made = adopt(theirs, tmp_path / "adopted")
    assert "its own preprocess()" in made.lost
    said = yaml.safe_load(made.recipe.read_text())
    assert said["source"] == {"torchscript": "n.pt"}
    recipe = {
        **said, "source": {"torchscript": str(tmp_path / "adopted" / "n.pt")},
        "handler": {"inputs": {"input": {"shape": [4]}}},
    }  # fmt: skip
    build(recipe, tmp_path / "store")
    with Harness(theirs) as harness:
        answers = [harness.predict([Request.json({"x": row})])[0].json()["y"] for row in rows]
    with Harness(tmp_path / "store" / "birds.mar") as harness:
        for row, answer in zip(rows, answers, strict=True):
            (response,) = harness.predict([Request.json({"data": {"input": row}})])
            (numbers,) = response.json().values()
            assert numbers == pytest.approx(answer, abs=1e-5)
