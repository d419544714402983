"""Heat maps, as numbers and as pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from handlers.errors import ModelError
from handlers.images import heat_maps


def picture(heat: torch.Tensor) -> np.ndarray:
    image = Image.open(io.BytesIO(heat_maps.of(heat, "a").encode("image/png")))
    return np.array(image, dtype=int)


def test_channels_are_summed() -> None:
    found = heat_maps.of(torch.tensor([[[1.0, 0.0]], [[2.0, -1.0]]]), "a")
    assert found.to_json() == {"label": "a", "heat_map": [[3.0, -1.0]]}


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
        heat_maps.of(torch.tensor([[[float("nan")]]]), "a")
