"""Models of images for which there is no task, by the names of their tensors: depth, larger images.

`pixel_values` goes in as the folder's processor makes it; what comes out bears the model's names.
"""

from __future__ import annotations

import importlib
import inspect
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from marsmith.errors import BuildError, UnsupportedError, reason
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _preprocessor, own_class

AUTO = ""  # the class that config.json names

INPUT = "pixel_values"
PICTURE = (640, 480)  # pixels: wide and high
SAY = "say what it takes: handler: {inputs: {pixel_values: {shape: [3, HEIGHT, WIDTH]}}}"


class ByName(torch.nn.Module):
    """A model that takes images and returns its tensors by name.

    Args:
        model: one of transformers'.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run prepared images, (N, 3, H, W) float32."""
        return _tensors(self.model(pixel_values=pixel_values))


def _tensors(found: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """What is one tensor; states of layers are several."""
    return {name: each for name, each in found.items() if isinstance(each, torch.Tensor)}


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model in ByName.

    Raises:
        UnsupportedError: it takes something else than images, or more.
    """
    takes = inspect.signature(model.forward).parameters.values()
    needed = {e.name for e in takes if e.default is e.empty and e.kind != e.VAR_KEYWORD}
    if INPUT not in {each.name for each in takes} or needed - {INPUT}:
        what = ", ".join(sorted(needed)) or model.main_input_name
        raise UnsupportedError(
            f"{folder.name} is a {type(model).__name__}, which takes {what}; of folders, only those"
            " whose model takes images alone are served by their tensors",
            "bring a 'source.factory', whose module takes and returns the tensors that are wanted",
        )
    return ByName(model)


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers makes of prepared images: every tensor, by its name."""
    kind = getattr(importlib.import_module("transformers"), own_class(folder))
    model: Any = kind.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False
    ).eval()
    outputs: list[dict[str, torch.Tensor] | None] = []
    for instance in instances:
        pixels = _pixels(instance)
        if pixels is None:
            outputs.append(None)
            continue
        with torch.inference_mode():
            outputs.append(_tensors(model(pixel_values=pixels)))
    return Untouched([None] * len(outputs), outputs)


def _pixels(instance: object) -> torch.Tensor | None:
    """A prepared image, as a batch of one; None of what is another task's instance."""
    given: Any = instance
    if isinstance(given, bytes):
        given = np.load(io.BytesIO(given), allow_pickle=False)
    if isinstance(given, (Mapping, np.lib.npyio.NpzFile)):
        given = given.get(INPUT)
    if not isinstance(given, (list, np.ndarray)):
        return None
    return torch.from_numpy(np.asarray(given, np.float32))[None]


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Say what the model takes: the shape that the processor makes of a picture of 640 by 480.

    Raises:
        BuildError: the folder has no image processor.
    """
    processor = _preprocessor.read(folder)
    try:
        made = processor(images=Image.new("RGB", PICTURE), return_tensors="pt")[INPUT]
    except Exception as error:  # of transformers' own code, by what the file says
        raise BuildError(
            f"the processor of {folder.name} can't prepare an image: {reason(error)}", SAY
        ) from error
    return {"inputs": {INPUT: {"datatype": "FP32", "shape": list(made.shape[1:])}}}
