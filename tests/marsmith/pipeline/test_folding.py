"""Images as models were trained on them, from a build to the answers of its archive."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from handlers.images import opencv
from handlers.images.normalising import Normalisation
from marsmith.converters._folded import fold
from marsmith.errors import BuildError, GateError, UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.convert import convert
from tests.support.images import encode, noise

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SIZES = [(24, 40), (40, 24), (37, 53), (9, 7)]  # (width, height)

FIRST = ("Photographed", {"input_dtype": "uint8"})
LAST = ("ChannelsLast", {"channels": "last", "input_dtype": "uint8"})


class Photographed(nn.Module):
    """Logits of normalised images, (N, 3, H, W), from which no channel and no place is missing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 4, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(image).mean(dim=(2, 3))
        return logits


class ChannelsLast(Photographed):
    """The same of (N, H, W, 3)."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(image.permute(0, 3, 1, 2)).mean(dim=(2, 3))
        return logits


def photographs() -> list[bytes]:
    return [encode(noise(*size, "RGB", seed)) for seed, size in enumerate(SIZES)]


def own_code(bodies: Sequence[bytes]) -> list[torch.Tensor]:
    """What somebody trains with OpenCV: resized, normalised, padded to what the model needs."""
    logits = []
    for body in bodies:
        with Image.open(io.BytesIO(body)) as image:
            pixels = np.zeros((32, 32, 3), np.uint8)
            pixels[:24, :24] = opencv.resize(np.asarray(image), (24, 24), by_area=False)
        numbers = (pixels / 255 - MEAN) / STD
        batch = torch.tensor(numbers, dtype=torch.float32).permute(2, 0, 1)[None]
        with torch.inference_mode():
            logits.append(Photographed()(batch)[0])
    return logits


def recipe(model: str = "Photographed", **handler: Any) -> dict[str, Any]:
    prepared = {
        "resize": [24, 24], "interpolation": "opencv_linear", "pad_to_multiple": 16,
        "mean": MEAN, "std": STD, **handler,
    }  # fmt: skip
    return {
        "name": "photographed",
        "task": "image_classification",
        "source": {"factory": f"{__name__}:{model}"},
        "handler": prepared,
        "evaluation": {"data": f"{__name__}:photographs", "expected": f"{__name__}:own_code"},
        "serving": {"batch_size": 4},
    }


def answered(archive: Path) -> list[Any]:
    with Harness(archive, batch_size=4) as harness:
        answers = harness.predict([Request.raw(each, "image/png") for each in photographs()])
        return [each.json() for each in answers]


@pytest.mark.parametrize(
    ("model", "handler", "runtime"),
    [
        (*FIRST, "torchscript"),
        ("ChannelsLast", {"channels": "last"}, "torchscript"),
        pytest.param(*LAST, "openvino", marks=pytest.mark.slow),
        pytest.param(*FIRST, "onnx", marks=pytest.mark.slow),
        pytest.param(*FIRST, "pt2", marks=pytest.mark.slow),
        pytest.param(*FIRST, "tflite", marks=pytest.mark.slow),
    ],
)
def test_an_archive_prepares_images_as_the_users_own_code(
    model: str, handler: dict[str, Any], runtime: str, tmp_path: Path
) -> None:
    report = build({**recipe(model, **handler), "runtime": runtime}, tmp_path)
    assert report is not None
    names = [rung.name for rung in report.ladder]
    folded = ["folded"] if "input_dtype" in handler else []
    assert names == ["untouched", "original", *folded, f"{runtime}:fp32", "archived"]
    assert all(rung.difference.max_abs_error <= 1e-3 for rung in report.ladder)
    wanted = torch.stack(own_code(photographs())).softmax(dim=1)
    for answer, row in zip(answered(tmp_path / "photographed.mar"), wanted, strict=True):
        scores = [answer[str(number)] for number in range(4)]
        torch.testing.assert_close(torch.tensor(scores), row, atol=1e-4, rtol=0)


def test_what_takes_pixels_says_so_and_explains(tmp_path: Path) -> None:
    build(recipe(input_dtype="uint8"), tmp_path)
    with Harness(tmp_path / "photographed.mar") as harness:
        (numbers,) = harness.predict([Request.json([[[0.5] * 32] * 32] * 3)])
        assert (numbers.status, "normalises pixels itself" in numbers.json()["error"]) == (
            422,
            True,
        )
        pixels = np.asarray(noise(24, 24, "RGB"))
        tensor = {"name": "image", "shape": [1, 24, 24, 3], "datatype": "UINT8"}
        body = {"inputs": [{**tensor, "data": pixels.flatten().tolist()}]}
        (sent,) = harness.predict([Request.json(body)])
        assert sent.status == 200
        # In a picture of the mean colour, to the nearest level, nothing speaks for any label.
        grey = np.round(np.array(MEAN) * 255).astype(np.uint8) * np.ones((24, 24, 1), np.uint8)
        for image, nothing in ((grey, True), (pixels, False)):
            png = encode(Image.fromarray(image))
            (explained,) = harness.predict([Request.raw(png, "image/png", explain=True)])
            heat = np.array(explained.json()["heat_map"])
            assert heat.shape == (32, 32)
            assert np.allclose(heat[:24, :24], 0, atol=1e-6) == nothing


def test_what_is_wrong_in_the_model_is_never_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Normalisation, "forward", lambda self, pixels: pixels.float() * self.scale + self.shift
    )
    with pytest.raises(GateError, match="with the preparation of image in it"):
        build(recipe(input_dtype="uint8"), tmp_path)


def test_eager_has_nothing_before_its_factorys_module(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="nothing before it"):
        convert(recipe(input_dtype="uint8"), "eager", tmp_path / "out")


def test_a_torchscript_file_gets_it_too(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Photographed().eval()), tmp_path / "model.pt")
    source = {"torchscript": str(tmp_path / "model.pt")}
    report = build({**recipe(input_dtype="uint8"), "source": source}, tmp_path)
    assert report is not None
    assert [rung.name for rung in report.ladder][1:3] == ["original", "folded"]


def test_an_onnx_file_is_refused(tmp_path: Path) -> None:
    convert(recipe(), "onnx", tmp_path / "out")
    source = {"onnx": str(tmp_path / "out" / "model.onnx")}
    with pytest.raises(BuildError, match=r"model.onnx takes what it was exported for"):
        build({**recipe(input_dtype="uint8"), "source": source}, tmp_path)


class Pair(nn.Module):
    def forward(self, image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return image.flatten(1).sum(dim=1) * other


def test_other_inputs_stay_as_they_are() -> None:
    before = {"image": Normalisation([0.5], [0.25])}
    folded = fold(Pair(), before, ["image", "other"])
    white = torch.full((2, 1, 2, 2), 255, dtype=torch.uint8)
    assert folded(white, torch.tensor([1.0, 2.0])).tolist() == [8.0, 16.0]
    with pytest.raises(BuildError, match="nothing can be put before this TorchScript"):
        fold(torch.jit.script(Pair()), before, ["image", "other"])
