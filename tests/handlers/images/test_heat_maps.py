"""Heat maps, as numbers and as pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from handlers.errors import ModelError
from handlers.images import heat_maps
from handlers.images.pixels import Placement


def picture(heat: torch.Tensor) -> np.ndarray:
    found = heat_maps.of(heat, "a", Placement((8, 8), (8, 8)))
    image = Image.open(io.BytesIO(found.encode("image/png")))
    return np.array(image, dtype=int)


def test_channels_are_summed() -> None:
    whole = Placement((2, 1), (2, 1))
    found = heat_maps.of(torch.tensor([[[1.0, 0.0]], [[2.0, -1.0]]]), "a", whole)
    assert found.to_json() == {"label": "a", "heat_map": [[3.0, -1.0]], "box": [0, 0, 2, 1]}


def test_where_a_map_lies_is_told_in_the_pixels_of_the_original() -> None:
    cropped = Placement(size=(400, 200), inner=(8, 4), left=-2)  # the middle of 8 x 4: 4 x 4
    assert heat_maps.of(torch.zeros(3, 4, 4), "a", cropped).box == [100, 0, 300, 200]
    boxed = Placement(size=(400, 200), inner=(8, 4), top=2)  # on a ground of 8 x 8
    assert heat_maps.of(torch.zeros(3, 8, 8), "a", boxed).box == [0, -100, 400, 300]


def test_what_speaks_for_it_is_red_and_what_speaks_against_it_blue() -> None:
    ((most, less, nothing, against),) = picture(torch.tensor([[[2.0, 1.0, 0.0, -2.0]]]))
    assert tuple(most) == heat_maps.FOR
    assert tuple(against) == heat_maps.AGAINST
    assert tuple(nothing) == heat_maps.NEUTRAL
    assert most[0] - most[2] > less[0] - less[2] > 0


def test_a_map_of_nothing_is_a_picture_too() -> None:
    assert picture(torch.zeros(1, 2, 3)).shape == (2, 3, 3)


def test_windows_cover_an_eighth_of_each_side() -> None:
    assert heat_maps.windows({"image": torch.zeros(2, 3, 17, 8)}) == {"image": (3, 3, 1)}


def test_a_map_that_is_not_finite_is_no_picture() -> None:
    with pytest.raises(ModelError, match="not finite"):
        heat_maps.of(torch.tensor([[[float("nan")]]]), "a", Placement((1, 1), (1, 1)))
