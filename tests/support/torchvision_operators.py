"""torchvision, and timm, beside a torch that torchvision's own operators were not compiled for.

Its classifiers, and its transforms of PIL's images, need none of these operators; but it says of
two how they behave as it is imported, which torch takes of known ones alone.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any

import pytest
import torch

NAMES = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def library(name: str) -> Any:
    """Import torchvision or timm; skip a test where that isn't installed."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed; scripts/test-torchvision has it")
    define()
    return importlib.import_module(name)


@cache
def define() -> torch.library.Library | None:
    """Define what is unknown, for as long as this process lives."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    else:
        return None
    defined = torch.library.Library("torchvision", "DEF")
    for name in NAMES:
        defined.define(name + SCHEMA)
    return defined
