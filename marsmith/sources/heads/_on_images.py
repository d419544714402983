"""Models of transformers that take images, called by position, and run by transformers alone."""

from __future__ import annotations

import importlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from handlers.protocols.base64_text import encoded
from marsmith.sources.heads import _on_tokens, _preprocessor

LABELS = "labels.json"


class OnImages(torch.nn.Module):
    """A model that takes images by position and returns plain tensors.

    Args:
        model: one of transformers'.
        outputs: the names of its outputs that are returned.
    """

    def __init__(self, model: torch.nn.Module, *outputs: str) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, image: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Run normalised images, (N, 3, H, W) float32."""
        found = self.model(pixel_values=image)
        outputs = tuple(getattr(found, name) for name in self.outputs)
        return outputs[0] if len(outputs) == 1 else outputs


def labels(config: Any) -> list[str]:
    """The names of the classes, in their order; of equal ones, all but the first get a number.

    ImageNet has two cranes, and COCO's detectors eleven times "N/A".
    """
    return told_apart(_on_tokens.labels(config))


def told_apart(labels: Sequence[str]) -> list[str]:
    """Labels, in their order; of equal ones, all but the first get a number."""
    names = list(labels)
    counts, taken = Counter(names), set(names)
    seen: set[str] = set()
    for number, name in enumerate(names):
        if counts[name] > 1 and name in seen:
            names[number] = f"{name} ({number})"
            if names[number] in taken:
                names[number] = f"{name} (class {number})"
        seen.add(name)
    return names


def bring(module: torch.nn.Module, folder: Path, out: Path) -> dict[str, object]:
    """Write the labels of config.json into `out`; say how images are prepared.

    Raises:
        BuildError: the folder has no image processor, or not a label for each class.
        UnsupportedError: the processor does what no setting of a handler says.
    """
    config = module.get_submodule("model").config
    (out / LABELS).write_text(json.dumps(labels(config)), "utf-8")
    return {**_preprocessor.bring(folder), "labels": LABELS}


def read(folder: Path, auto: str) -> tuple[Any, Any]:
    """Read the model, with numbers of 32 bits, and its processor, as transformers does by itself.

    Equal labels are told apart, as `labels` does.
    """
    kind = getattr(importlib.import_module("transformers"), auto)
    model = kind.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False
    ).eval()
    if auto != "AutoModel":
        model.config.id2label = dict(enumerate(labels(model.config)))
    return model, _preprocessor.read(folder)


def as_the_folder(folder: Path, handler: Mapping[str, object], **said: object) -> bool:
    """Whether the recipe leaves the preparation of images, and what is named, to the folder."""
    return says(handler, {**_preprocessor.settings(_preprocessor.read(folder), folder), **said})


def says(handler: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    """Whether a `handler:` section says nothing else than some settings."""
    return all(_plain(handler.get(name, value)) == _plain(value) for name, value in wanted.items())


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def opened(
    instances: Sequence[object], load: Callable[[Image.Image], Image.Image] | None = None
) -> Iterator[Image.Image | None]:
    """Images as a library opens them; None for what it can't be asked.

    These are the model's own tensors, and pixels of more than 8 bits, which PIL would clip.

    Args:
        instances: as requests have them.
        load: what the library does to an image that PIL has opened; by default what transformers'
            pipelines do.
    """
    load = load or importlib.import_module("transformers.image_utils").load_image
    for each in instances:
        if isinstance(each, (list, np.ndarray)):
            yield None
            continue
        image = Image.open(io.BytesIO(encoded(each, "an image")))
        yield None if image.mode[:1] in ("I", "F") else load(image)


def prepared(processor: Any, image: Image.Image) -> Any:
    """What transformers makes of one image: the model's arguments."""
    return processor(images=image, return_tensors="pt")
