"""ResNet-50, and photographs to convert it with: crops of the two that scikit-learn ships.

The names in its state_dict are torchvision's, so that a checkpoint of theirs loads. Without one
its weights are random: it recognises nothing, and takes the same time.

See: K. He et al., Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385;
strides stand in the 3x3 convolutions, as in https://github.com/facebookarchive/fb.resnet.torch.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import nn

EXPANSION = 4  # a block gives four times the channels that it works in
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels
SIZE = 224
SETTLING, CALIBRATION, HELD_OUT = range(3)  # seeds: no crop is in two of them
COUNT = 64  # crops of each
STRENGTH = 0.1  # of an untrained block


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, and past them the input: (N, inputs, H, W) -> (N, 4 width, H/s, W/s)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Add what the convolutions make of the input to the input."""
        change = self.relu(self.bn1(self.conv1(image)))
        change = self.relu(self.bn2(self.conv2(change)))
        change = self.bn3(self.conv3(change))
        past = image if self.downsample is None else self.downsample(image)
        result: torch.Tensor = self.relu(change + past)
        return result


class ResNet(nn.Module):
    """Bottlenecks in four stages: (N, 3, 224, 224), normalised -> (N, classes) logits.

    Args:
        blocks: how many bottlenecks each stage has.
        width: the channels that the first stage works in; each next has twice as many.
        classes: how many logits.
    """

    def __init__(
        self, blocks: Sequence[int] = (3, 4, 6, 3), width: int = 64, classes: int = 1000
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(width, width, blocks[0], 1)
        self.layer2 = _stage(4 * width, 2 * width, blocks[1], 2)
        self.layer3 = _stage(8 * width, 4 * width, blocks[2], 2)
        self.layer4 = _stage(16 * width, 8 * width, blocks[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(32 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Classify a batch of images."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: torch.Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _stage(inputs: int, width: int, count: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride)
    return nn.Sequential(
        first, *(Bottleneck(EXPANSION * width, width, 1) for _ in range(count - 1))
    )


def model(classes: int = 1000) -> nn.Module:
    """ResNet-50, its weights random."""
    return ResNet(classes=classes)


def settle(module: nn.Module) -> None:
    """Give random weights the statistics of photographs, in place of training.

    Every BatchNorm takes its mean and variance from them, so that no layer vanishes or
    explodes. Blocks change their input by little, as those of trained networks do: random ones
    of full strength, one after the other, would make a large error of every rounding.

    See: P. Goyal et al., https://arxiv.org/abs/1706.02677, section 5.1, for starting from 0.
    """
    for block in module.modules():
        if isinstance(block, Bottleneck):
            nn.init.constant_(block.bn3.weight, STRENGTH)
    norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of all batches
    module.train()
    with torch.no_grad():
        for batch in photographs(SETTLING, 32).split(16):
            module(batch)
    for norm in norms:
        norm.momentum = 0.1
    module.eval()


def photographs(seed: int, count: int) -> torch.Tensor:
    """Crops as the model takes them, (count, 3, 224, 224) float32, normalised."""
    pixels = [
        np.array(Image.open(io.BytesIO(body)).resize((SIZE, SIZE))) for body in crops(seed, count)
    ]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def crops(seed: int, count: int = COUNT) -> list[bytes]:
    """JPEGs of parts of the photographs: of any place, size and shape, half of them mirrored."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    chance = np.random.default_rng(seed)
    return [_crop(photos[index % len(photos)], chance) for index in range(count)]


def _crop(photo: Image.Image, chance: np.random.Generator) -> bytes:
    height = int(photo.height * chance.uniform(0.15, 1))
    width = int(min(photo.width, height * chance.uniform(0.75, 1.33)))
    left = int(chance.integers(photo.width - width + 1))
    top = int(chance.integers(photo.height - height + 1))
    part = photo.crop((left, top, left + width, top + height))
    scale = chance.uniform(256, 400) / min(part.size)
    part = part.resize((round(part.width * scale), round(part.height * scale)))
    if chance.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    buffer = io.BytesIO()
    part.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def calibration() -> list[bytes]:
    """Crops that static quantisation takes its ranges from."""
    return crops(CALIBRATION)


def held_out() -> list[bytes]:
    """Other crops, to compare a converted model's outputs with the original's."""
    return crops(HELD_OUT)
