"""Handwritten digits: a small CNN on the 1,797 real 8x8 images that scikit-learn ships.

See: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, 1998.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

SEED = 0
HELD_OUT = 360  # of 1,797
EPOCHS = 40
PROXY_SCALE = 10.0  # cosines are in [-1, 1]: too even for a softmax


class DigitsNet(nn.Module):
    """Two convolutions and a linear layer: (N, 1, 8, 8) in [0, 1] -> (N, 10) logits."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(*_block(1, width, 1), *_block(width, 2 * width, 2))
        self.classifier = nn.Linear(2 * width * 4 * 4, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classify a batch of images."""
        logits: torch.Tensor = self.classifier(self.features(image).flatten(1))
        return logits


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def model(width: int = 16) -> nn.Module:
    """The untrained model."""
    return DigitsNet(width)


class DigitsEmbedder(nn.Module):
    """The same convolutions, and a vector: (N, 1, 8, 8) in [0, 1] -> (N, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*_block(1, 16, 1), *_block(16, 32, 2))
        self.projection = nn.Linear(32 * 4 * 4, 32)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Embed a batch of images."""
        vectors: torch.Tensor = self.projection(self.features(image).flatten(1))
        return vectors


def embedder() -> nn.Module:
    """The untrained embedder."""
    return DigitsEmbedder()


def train_embedder(module: nn.Module) -> None:
    """Train in place: each image's vector towards its digit's own, and away from the others'.

    See: Y. Movshovitz-Attias et al., No Fuss Distance Metric Learning using Proxies, 2017.
    """
    torch.manual_seed(SEED)
    proxies = nn.Linear(32, 10, bias=False)

    class WithProxies(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedder, self.proxies = module, proxies

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            vectors = nn.functional.normalize(self.embedder(image))
            return PROXY_SCALE * vectors @ nn.functional.normalize(self.proxies.weight).T

    train(WithProxies())
    module.eval()


def student() -> nn.Module:
    """An untrained model of less than an eighth of the parameters, for distillation."""
    return nn.Sequential(
        *_thin(1, 12, 3),
        *_thin(12, 12, 3, groups=12),
        *_thin(12, 18, 1),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(18 * 2 * 2, 10),
    )


def _thin(inputs: int, outputs: int, size: int, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def split() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], int]:
    """All images in a fixed order, (1797, 8, 8) uint8, their digits, and where training ends."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(SEED).permutation(len(data.images))
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)  # the set's levels are 0 to 16
    return pixels[order], data.target[order], len(order) - HELD_OUT


def train(module: nn.Module) -> None:
    """Train in place on the training part: under ten seconds on two cores."""
    pixels, digits, end = split()
    images = torch.from_numpy(pixels[:end])[:, None].float() / 255
    targets = torch.from_numpy(digits[:end])
    torch.manual_seed(SEED)
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = EPOCHS * -(-len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    module.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(64):
            batch = images[chosen]
            # Shift each batch by at most one pixel: the digits aren't perfectly centred.
            shift = torch.randint(-1, 2, (2,)).tolist()
            batch = torch.roll(batch, shifts=shift, dims=(2, 3))
            loss = nn.functional.cross_entropy(module(batch), targets[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


class TrainingSet(Dataset[tuple[torch.Tensor, int]]):
    """The training part: (1, 8, 8) images in [0, 1], shifted by at most one pixel, and digits."""

    def __init__(self) -> None:
        pixels, digits, end = split()
        self.images = torch.from_numpy(pixels[:end])[:, None].float() / 255
        self.digits = [int(digit) for digit in digits[:end]]

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        shift = torch.randint(-1, 2, (2,)).tolist()
        return torch.roll(self.images[index], shifts=shift, dims=(1, 2)), self.digits[index]


def training_set() -> TrainingSet:
    """What fine-tuning and distillation train on."""
    return TrainingSet()


def calibration() -> list[bytes]:
    """The training part as PNGs, for the ranges of static quantisation."""
    pixels, _, end = split()
    return [_png(image) for image in pixels[:end]]


def held_out() -> list[tuple[bytes, str]]:
    """The held-out part: 360 PNGs and their digits."""
    pixels, digits, end = split()
    return [
        (_png(image), str(digit)) for image, digit in zip(pixels[end:], digits[end:], strict=True)
    ]


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def main(folder: Path, count: int = 3) -> None:
    """Write held-out images, named for their digits, into a folder and print their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, (image, digit) in enumerate(held_out()[:count]):
        path = folder / f"held-out-{index}-is-a-{digit}.png"
        path.write_bytes(image)
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:]))
