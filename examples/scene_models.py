"""A detector and a segmenter for examples/scenes.py, and how they are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    interpolate,
    one_hot,
    softplus,
)

from examples.digits import SEED
from examples.scenes import Scene, scenes
from handlers.images import pixels
from handlers.images.pixels import Placement

INPUT = (64, 96)  # height and width of what the models see
STRIDE = 4  # of the detector's cells
SCENES = 3000  # to train on
BATCH = 32
LEARNING_RATE = 1e-2


class Trunk(nn.Module):
    """What is at each place, and what is around it.

    (N, 1, H, W) in [0, 1] -> (N, width, H / 4, W / 4), and for who needs edges a finer
    (N, width / 2, H / 2, W / 2).

    See: O. Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation,
    2015.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(*_block(1, width // 2, 2), *_block(width // 2, width // 2))
        self.middle = nn.Sequential(*_block(width // 2, width, 2), *_block(width, width))
        self.coarse = nn.Sequential(
            *_block(width, 2 * width, 2),
            *_block(2 * width, 2 * width),
            *_block(2 * width, 2 * width),
        )
        self.merge = nn.Sequential(*_block(3 * width, width))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of a batch of images."""
        fine = self.fine(image)
        middle = self.middle(fine)
        coarse = interpolate(self.coarse(middle), scale_factor=2.0)
        return self.merge(torch.cat([coarse, middle], dim=1)), fine


def _block(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _head(inputs: int, start: list[float]) -> nn.Conv2d:
    """What is said of each place, in training `start` at first: that there is hardly ever a digit.

    Without it most of the training would be learning that.
    """
    head = nn.Conv2d(inputs, len(start), 1)
    head.bias = nn.Parameter(torch.tensor(start))
    return head


class Detector(nn.Module):
    """Without anchors: each cell says what it is the middle of, and how far off the edges are.

    (N, 1, 64, 96) in [0, 1] -> boxes (N, 384, 4), left, top, right, bottom in pixels, and
    logits (N, 384, 10).

    See: Z. Tian et al., FCOS: Fully Convolutional One-Stage Object Detection, 2019.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.trunk = Trunk(width)
        head = _head(width, 4 * [2.0] + 10 * [-4.0])
        self.head = nn.Sequential(*_block(width, width), head)
        self.stride = float(STRIDE)  # TorchScript knows no globals
        self.centres = nn.Parameter(_centres().repeat(1, 2), requires_grad=False)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes and logits of a batch of images."""
        features, _ = self.trunk(image)
        cells = self.head(features).flatten(2).transpose(1, 2)
        reach = softplus(cells[..., :4]) * self.stride
        boxes = torch.cat([-reach[..., :2], reach[..., 2:]], dim=-1) + self.centres
        return boxes, cells[..., 4:]


def _centres() -> torch.Tensor:
    """Where the detector's cells are, row after row: x and y in pixels."""
    rows, columns = ((torch.arange(side // STRIDE) + 0.5) * STRIDE for side in INPUT)
    return torch.cartesian_prod(rows, columns).flip(1)


class Segmenter(nn.Module):
    """Names every second pixel: (N, 1, H, W) in [0, 1] -> (N, 11, H / 2, W / 2) logits."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.trunk = Trunk(width)
        self.merge = nn.Sequential(*_block(width + width // 2, width // 2))
        self.head = _head(width // 2, [4.0] + 10 * [0.0])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of a batch of images."""
        features, fine = self.trunk(image)
        merged = self.merge(torch.cat([interpolate(features, scale_factor=2.0), fine], dim=1))
        logits: torch.Tensor = self.head(merged)
        return logits


def train_detector(module: nn.Module) -> None:
    """Train a `Detector` in place: under a minute on two cores."""
    training = scenes(SCENES, held_out=False)
    pixels, placements = _as_seen(training)
    centres = _centres()
    classes = torch.full((SCENES, len(centres)), -1)
    boxes = torch.zeros(SCENES, len(centres), 4)
    for index, (each, placement) in enumerate(zip(training, placements, strict=True)):
        placed = _placed(torch.tensor(each.boxes), placement)
        for digit, box in zip(each.digits, placed, strict=True):
            near = (centres - (box[:2] + box[2:]) / 2).abs().amax(dim=1) < STRIDE
            classes[index, near], boxes[index, near] = digit, box

    def loss(outputs: tuple[torch.Tensor, torch.Tensor], chosen: torch.Tensor) -> torch.Tensor:
        near = classes[chosen] >= 0
        targets = one_hot(classes[chosen] + 1, 11)[..., 1:].float()
        return (
            _focal(outputs[1], targets) / near.sum()
            - _overlap(outputs[0][near], boxes[chosen][near]).clamp(min=1e-3).log().mean()
        )

    _train(module, pixels, loss, epochs=3)


def train_segmenter(module: nn.Module) -> None:
    """Train a `Segmenter` in place: about a minute on two cores."""
    training = scenes(SCENES, held_out=False)
    pixels, placements = _as_seen(training)
    masks = torch.zeros(SCENES, *INPUT, dtype=torch.int64)
    for mask, each, placement in zip(masks, training, placements, strict=True):
        (width, height), left, top = placement.inner, placement.left, placement.top
        nearest = Image.fromarray(each.mask).resize(placement.inner, Image.Resampling.NEAREST)
        mask[top : top + height, left : left + width] = torch.from_numpy(np.array(nearest))

    def loss(logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        return cross_entropy(interpolate(logits, size=INPUT, mode="bilinear"), masks[chosen])

    _train(module, pixels, loss, epochs=4)


def _as_seen(training: list[Scene]) -> tuple[torch.Tensor, list[Placement]]:
    """Scenes letterboxed as the handler does it, (K, 1, 64, 96) uint8, and where they lie."""
    pairs = [pixels.letterbox(Image.fromarray(s.pixels), INPUT, "bilinear") for s in training]
    return torch.stack([pixels.to_tensor(each) for each, _ in pairs]), [p for _, p in pairs]


def _placed(boxes: torch.Tensor, placement: Placement) -> torch.Tensor:
    """Boxes of an original image in the model's input."""
    scale = torch.tensor(placement.inner * 2) / torch.tensor(placement.size * 2)
    return boxes * scale + torch.tensor([placement.left, placement.top] * 2)


def _focal(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of what is not yet sure: nearly all cells have nothing in them.

    See: T.-Y. Lin et al., Focal Loss for Dense Object Detection, 2017.
    """
    entropy = binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return ((logits.sigmoid() - targets).square() * entropy).sum()


def _overlap(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Intersection over union of boxes with boxes, (K, 4) and (K, 4) -> (K,)."""
    low, high = (
        torch.maximum(found[:, :2], wanted[:, :2]),
        torch.minimum(found[:, 2:], wanted[:, 2:]),
    )
    shared = (high - low).clamp(min=0).prod(dim=1)
    areas = sum((each[:, 2:] - each[:, :2]).prod(dim=1) for each in (found, wanted))
    return shared / (areas - shared)


def _train(
    module: nn.Module,
    pixels: torch.Tensor,
    loss: Callable[[Any, torch.Tensor], torch.Tensor],
    *,
    epochs: int,
) -> None:
    torch.manual_seed(SEED)
    # Convolutions on a CPU are fastest with channels last.
    module.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=1e-2)
    steps = epochs * -(-SCENES // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(SCENES).split(BATCH):
            batch = (pixels[chosen].float() / 255).to(memory_format=torch.channels_last)
            value = loss(module(batch), chosen)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
    module.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
