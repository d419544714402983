from __future__ import annotations

import io

import pytest
import torch
from PIL import Image
from torch import fx, nn

from examples.resnet50 import (
    CALIBRATION,
    HELD_OUT,
    SETTLING,
    Bottleneck,
    ResNet,
    crops,
    model,
    photographs,
    settle,
)
from marsmith.recipe import reading
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """All stages of one block, and narrow; settled."""
    torch.manual_seed(0)
    module = ResNet((2, 1, 1, 1), width=16, classes=20)
    settle(module)
    return module


def test_it_is_the_architecture_and_the_names_are_torchvisions() -> None:
    state = model().state_dict()
    assert sum(v.numel() for n, v in state.items() if "running" not in n and "num" not in n) == (
        25_557_032
    )
    assert len(state) == 320
    shapes = {
        "conv1.weight": (64, 3, 7, 7),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer2.0.conv2.weight": (128, 128, 3, 3),
        "layer3.5.bn3.running_var": (1024,),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
        "layer4.0.downsample.1.num_batches_tracked": (),
        "fc.weight": (1000, 2048),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_only_the_3x3_convolutions_stride() -> None:
    block = Bottleneck(64, 32, stride=2)
    strides = [layer.stride for layer in (block.conv1, block.conv2, block.conv3)]
    assert strides == [(1, 1), (2, 2), (1, 1)]


def test_it_can_be_scripted_and_traced(small: nn.Module) -> None:
    images = photographs(HELD_OUT, 3)
    with torch.inference_mode():
        wanted = small(images)
        for other in (torch.jit.script(small), fx.symbolic_trace(small)):
            torch.testing.assert_close(other(images), wanted)
    assert wanted.shape == (3, 20)


def test_other_images_get_other_outputs(small: nn.Module) -> None:
    with torch.inference_mode():
        outputs = nn.functional.normalize(small(photographs(HELD_OUT, 16)), dim=1)
    assert not small.training
    alike = (outputs @ outputs.T)[~torch.eye(16, dtype=torch.bool)]
    assert alike.median() < 0.96  # well below what the recipe accepts


def test_crops_are_jpegs_and_none_is_in_two_sets() -> None:
    sets = [crops(seed, 12) for seed in (SETTLING, CALIBRATION, HELD_OUT)]
    assert len({body for each in sets for body in each}) == 36
    assert crops(HELD_OUT, 12) == sets[-1]
    for body in sets[0]:
        image = Image.open(io.BytesIO(body))
        assert (image.format, image.mode) == ("JPEG", "RGB")
        assert min(image.size) >= 256


def test_the_recipe_can_be_read() -> None:
    recipe = reading.load(ROOT / "archiver_configs" / "resnet50.yaml")
    assert (recipe.runtime, recipe.accept.min_cosine) == ("auto", 0.99)
