"""Archives as TorchServe's users have them: made by torch-model-archiver, of handlers not ours."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ARCHIVER = "from model_archiver.model_packaging import generate_model_archive as g; g()"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LABELS = {"0": "hen", "1": ["n02", "owl"], "2": "gull", "3": "wren", "4": "crow", "5": "swan"}
NAMES = ("hen", "owl", "gull", "wren", "crow", "swan")
NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(8)
        self.head = nn.Linear(192, 6)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(self.pool(image), 1))
"""
DETECTOR = """
from typing import Dict, List

import torch
from torch import nn


class Detector(nn.Module):
    # Finds of an image: as many as its corner says, each brighter part first.
    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(3, 9)

    def forward(self, images: INPUT) -> OUTPUT:
        found: List[Dict[str, torch.Tensor]] = []
        for image in images:
            scores = torch.sigmoid(self.score(image.mean(dim=[1, 2]))).sort(descending=True)
            count = int(image[0, 0, 0] * 9)
            height, width = image.shape[1], image.shape[2]
            edges = torch.arange(9)[:count] / 9.0 * min(height, width) / 2
            boxes = torch.stack([edges, edges, edges + width / 3, edges + height / 4], dim=1)
            found.append({
                "boxes": boxes,
                "labels": scores.indices[:count] % 5 + 1,
                "scores": scores.values[:count],
            })
        return RESULT
"""
TRANSFORMS = '''
"""The four transforms of torchvision that TorchServe's image_classifier uses, by hand."""

import numpy as np
import torch
from PIL import Image


class Compose:
    def __init__(self, steps):
        self.steps = steps

    def __call__(self, image):
        for step in self.steps:
            image = step(image)
        return image


class Resize:
    def __init__(self, size):
        self.size = size

    def __call__(self, image):
        width, height = image.size
        if width <= height:
            size = (self.size, int(self.size * height / width))
        else:
            size = (int(self.size * width / height), self.size)
        return image.resize(size, Image.Resampling.BILINEAR)


class CenterCrop:
    def __init__(self, size):
        self.size = size

    def __call__(self, image):
        width, height = image.size
        left = int(round((width - self.size) / 2.0))
        top = int(round((height - self.size) / 2.0))
        return image.crop((left, top, left + self.size, top + self.size))


class ToTensor:
    def __call__(self, image):
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
        return pixels.permute(2, 0, 1).contiguous().float().div(255)


class Normalize:
    def __init__(self, mean, std):
        self.mean, self.std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def __call__(self, tensor):
        return (tensor - self.mean) / self.std
'''


def pack(
    folder: Path,
    handler: str,
    files: Mapping[str, str | bytes],
    *,
    name: str = "birds",
    model: str = "",
    model_file: str = "",
    extra: Sequence[str] = (),
    config: str = "",
    requirements: str = "",
) -> Path:
    """Make an archive; `files` are written into `folder` first, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / file).write_bytes(data)
    arguments = {
        "--model-name": name, "--version": "2.0", "--handler": handler, "--export-path": ".",
        "--serialized-file": model, "--model-file": model_file, "--extra-files": ",".join(extra),
        "--config-file": config, "--requirements-file": requirements,
    }  # fmt: skip
    given = [part for pair in arguments.items() if pair[1] for part in pair]
    (folder / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    subprocess.run(
        [sys.executable, "-c", ARCHIVER, *given],
        cwd=folder, env=environment, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return folder / f"{name}.mar"


def net() -> torch.nn.Module:
    """The classifier of `NET`, with the same random weights each time."""
    namespace: dict[str, object] = {"__name__": "net"}
    exec(NET, namespace)  # noqa: S102 - the text is above
    torch.manual_seed(0)
    made = namespace["Net"]
    assert isinstance(made, type)
    module: torch.nn.Module = made()
    torch.nn.init.normal_(module.head.weight)  # type: ignore[union-attr, arg-type]
    return module.requires_grad_(False).eval()


def detector_code(*, listed: bool = False, losses: bool = False) -> str:
    """The file of a detector, with what it takes, and answers."""
    result = "List[Dict[str, torch.Tensor]]"
    said = {
        "INPUT": "List[torch.Tensor]" if listed else "torch.Tensor",
        "OUTPUT": f"tuple[Dict[str, torch.Tensor], {result}]" if losses else result,
        "RESULT": "({}, found)" if losses else "found",
    }
    code = DETECTOR
    for name, text in said.items():
        code = code.replace(name, text)
    return code


def state(module: torch.nn.Module) -> bytes:
    """A module's weights, as torch.save writes them."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    return file.getvalue()


def scripted(module: torch.nn.Module) -> bytes:
    """A module as TorchScript, traced."""
    file = io.BytesIO()
    with torch.no_grad():
        torch.jit.save(torch.jit.trace(module, torch.zeros(1, 3, 224, 224)), file)
    return file.getvalue()


def index() -> str:
    """An `index_to_name.json`."""
    return json.dumps(LABELS)


def torchvision_by_hand(folder: Path) -> Path:
    """Write a `torchvision` with what image_classifier imports, where there is none; its parent."""
    package = folder / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "from torchvision import transforms\n__version__ = '0.20.0'\n"
    )
    (package / "transforms.py").write_text(TRANSFORMS)
    return folder


def images() -> list[bytes]:
    """Photographs, as noise at several scales: wide, tall, square, and odd."""
    random = np.random.default_rng(3)
    made = []
    for width, height in ((301, 400), (517, 231), (256, 256), (224, 333), (90, 61)):
        rough = random.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        image = Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        image.save(file, "PNG")
        made.append(file.getvalue())
    return made


def forget() -> None:
    """Forget the modules of recipes that were adopted: those of the next have the same names."""
    for name in ("adopted_model", "adopted_texts", "nets"):
        sys.modules.pop(name, None)
    sys.path[:] = [place for place in sys.path if not place.endswith("/adopted")]
