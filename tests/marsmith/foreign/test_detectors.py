"""Archives of TorchServe's object_detector become archives of ours, which find the same."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from marsmith.errors import BuildError
from marsmith.foreign.adopt import Adopted, adopt
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from tests.support import foreign_archives as foreign

INDEX = '{"1": "ant", "2": "bee", "3": "cat", "4": "dog", "5": "eel"}'
OWN = """
from ts.torch_handler.object_detector import ObjectDetector


class Sure(ObjectDetector):
    threshold = 0.55
"""


def detector(folder: Path, code: str) -> torch.nn.Module:
    """A detector of that code, with random weights."""
    (folder / "net.py").write_text(code)
    spec = importlib.util.spec_from_file_location("net", folder / "net.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(3)
    made: torch.nn.Module = module.Detector()
    torch.nn.init.normal_(made.score.weight, std=3)  # type: ignore[arg-type, union-attr]
    return made.requires_grad_(False).eval()


def packed(work: Path, form: str, *, handler: str = "object_detector") -> Path:
    """An archive: with a class and its weights, or with a TorchScript file of another signature."""
    code = foreign.detector_code(listed=form in ("list", "losses"), losses=form == "losses")
    module = detector(work, code)
    files: dict[str, str | bytes] = {"index_to_name.json": INDEX}
    if form == "state":
        files |= {"d.pth": foreign.state(module), "nets.py": code}
    else:
        scripted = io.BytesIO()
        torch.jit.save(torch.jit.script(module), scripted)
        files["d.pt"] = scripted.getvalue()
    if handler.endswith(".py"):
        files[handler] = OWN
    return foreign.pack(
        work / "theirs", handler, files, model="d.pth" if form == "state" else "d.pt",
        model_file="nets.py" if form == "state" else "", extra=["index_to_name.json"],
    )  # fmt: skip


def asked(archive: Path, bodies: Sequence[bytes], **env: str) -> list[Any]:
    """Answers to images alone, and to two of one size together."""
    with Harness(archive, batch_size=4, env=env) as harness:
        answers = [harness.predict([Request.raw(body)])[0] for body in bodies]
        answers += harness.predict([Request.raw(bodies[0]), Request.raw(bodies[-1])])
    assert {each.status for each in answers} == {200}
    return [each.json() for each in answers]


def bodies() -> list[bytes]:
    """Photographs, the last as large as the first, and so dark that nothing is found."""
    first = Image.open(io.BytesIO(foreign.images()[0])).point(lambda value: value // 20)
    file = io.BytesIO()
    first.save(file, "PNG")
    return [*foreign.images(), file.getvalue()]


def same(ours: Sequence[Any], theirs: Sequence[Any]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        finds = [{find["label"]: find["box"], "score": find["score"]} for find in mine]
        assert len(finds) == len(other)
        for find, one in zip(finds, other, strict=True):
            assert set(find) == set(one)
            assert all(find[name] == pytest.approx(one[name], abs=1e-3) for name in one)


def built(made: Adopted, folder: Path) -> Path:
    foreign.forget()
    recipe = reading.load(made.recipe)
    build(recipe, folder / "store")
    return folder / "store" / f"{recipe.name}.mar"


def test_a_recipe_says_what_the_archive_did(tmp_path: Path) -> None:
    made = adopt(packed(tmp_path, "state", handler="sure.py"), tmp_path / "out")
    said = yaml.safe_load(made.recipe.read_text())
    arguments = {"model": "nets:Detector", "weights": "d.pth"}
    assert said["source"] == {"factory": "adopted_model:detector", "arguments": arguments}
    assert said["task"] == "object_detection"
    assert said["handler"] == {
        "upright": False, "outputs": "final", "labels": "labels.json",
        "defaults": {"score_threshold": 0.55, "max_detections": 1000},
    }  # fmt: skip
    assert {file.name for file in made.files} == {
        "nets.py", "d.pth", "labels.json", "adopted_model.py",
    }  # fmt: skip
    assert any("the form of an answer" in line for line in made.lost)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["state", "batch"])
def test_it_finds_what_torchserves_worker_finds(tmp_path: Path, form: str) -> None:
    theirs = packed(tmp_path, form, handler="sure.py" if form == "state" else "object_detector")
    path = os.fspath(foreign.torchvision_by_hand(tmp_path / "by_hand"))
    wanted = asked(theirs, bodies(), PYTHONPATH=path)
    assert {0, 2, 3} <= {len(each) for each in wanted}
    same(asked(built(adopt(theirs, tmp_path / "adopted"), tmp_path), bodies()), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["list", "losses"])
def test_what_torchserve_does_not_run_finds_what_the_file_itself_does(
    tmp_path: Path, form: str
) -> None:
    archive = built(adopt(packed(tmp_path, form), tmp_path / "adopted"), tmp_path)
    model = torch.jit.load(str(tmp_path / "theirs" / "d.pt"))
    names = yaml.safe_load(INDEX)
    wanted = []
    for body in [*bodies(), bodies()[0], bodies()[-1]]:
        namespace: dict[str, Any] = {}
        exec(foreign.TRANSFORMS, namespace)  # noqa: S102 - the text is in tests/support
        pixels = namespace["ToTensor"]()(Image.open(io.BytesIO(body)))
        found = model([pixels])
        (found,) = found[1] if form == "losses" else found
        finds = zip(found["boxes"], found["labels"], found["scores"], strict=True)
        wanted.append(
            [
                {names[str(int(label))]: box.tolist(), "score": float(score)}
                for box, label, score in finds
                if score >= 0.5
            ]
        )
    same(asked(archive, bodies()), wanted)


def test_a_file_that_torchserves_detector_can_not_run_is_refused(tmp_path: Path) -> None:
    archive = foreign.pack(tmp_path, "object_detector", {"d.onnx": b"onnx"}, model="d.onnx")
    with pytest.raises(BuildError, match=r"runs a module, and d\.onnx is ONNX"):
        adopt(archive, tmp_path / "out")
