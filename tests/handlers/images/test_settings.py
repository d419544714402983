"""Settings of images: which contradict each other, and where an image and its boxes come to lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from handlers.errors import BadRequest, LoadError
from handlers.tasks.image_embedding import ImageEmbedding
from handlers.tasks.semantic_segmentation import SemanticSegmentation, likeliest

SIDES = st.integers(8, 60)


def configured(**section: Any) -> ImageEmbedding:
    handler = ImageEmbedding()
    handler.configure({"task": "image_embedding", **section}, Path())
    return handler


def batch_of(handler: ImageEmbedding, instance: Any) -> torch.Tensor:
    sample = handler.decode(instance, handler.default_options)
    return handler.collate([sample])["image"]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"greyscale": True, "colours": "bgr"}, "'greyscale' has no 'colours'"),
        ({"letterbox": True, "resize": 8}, r"needs 'resize' to be \[height, width\]"),
        ({"max_side": 9}, "need 'resize' to be the shorter side"),
        ({"letterbox": True, "resize": [8, 8], "crop": 4}, "nothing to 'crop'"),
        ({"letterbox": True, "resize": [8, 8], "pad_to_multiple": 4}, "would go beyond"),
        ({"pad_grey": 9}, "'pad_grey' is the colour of what 'pad_to_multiple' adds"),
        ({"pad_to_multiple": 0}, "'pad_to_multiple'"),
        ({"channels": "middle"}, "'channels'"),
        ({"input_dtype": "float16"}, "'input_dtype'"),
        ({"interpolation": "opencv_cubic"}, "'interpolation'"),
        ({"std": [0.0]}, "'std' must not be 0"),
        ({"mean": [0.5, 0.5]}, "'mean' must have 1 or 3 numbers, not 2"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError, match=words):
        configured(**section)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("greyscale", [False, True])
def test_channels_may_be_last(dtype: str, greyscale: bool) -> None:
    said = {"greyscale": greyscale, "mean": [0.4], "std": [0.3], "input_dtype": dtype}
    first, last = configured(**said), configured(**said, channels="last")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    batch = batch_of(last, pixels)
    assert batch.shape == (1, 5, 7, 1 if greyscale else 3)
    assert batch.is_contiguous()
    assert torch.equal(batch, batch_of(first, pixels).permute(0, 2, 3, 1))
    assert (first.varying_axes(), last.varying_axes()) == ({"image": (2, 3)}, {"image": (1, 2)})


def test_a_tensor_is_as_the_model_takes_it() -> None:
    last = configured(channels="last", resize=[8, 12])
    values = np.random.default_rng(0).normal(size=(8, 12, 3)).astype(np.float32)
    assert np.array_equal(batch_of(last, values)[0].numpy(), values)
    described: Any = last.describe_input()
    assert described["tensor"]["shape"] == [8, 12, 3]
    with pytest.raises(BadRequest, match=r"must be \(8, 12, 3\), not \(3, 8, 12\)"):
        batch_of(last, values.transpose(2, 0, 1))


def test_a_tensor_has_the_sides_that_images_have() -> None:
    free = configured(pad_to_multiple=32)
    assert batch_of(free, np.zeros((3, 64, 32), np.float32)).shape == (1, 3, 64, 32)
    with pytest.raises(BadRequest, match=r"\(3, H, W\), H and W multiples of 32, not \(3, 64, 33"):
        batch_of(free, np.zeros((3, 64, 33), np.float32))
    fixed = configured(resize=[20, 20], pad_to_multiple=32)
    assert batch_of(fixed, np.zeros((3, 32, 32), np.float32)).shape == (1, 3, 32, 32)
    assert fixed.varying_axes() == {}


def test_a_model_that_takes_pixels_takes_no_other_numbers() -> None:
    handler = configured(input_dtype="uint8", mean=[0.5], std=[0.25])
    with pytest.raises(BadRequest, match="normalises pixels itself") as caught:
        batch_of(handler, np.zeros((3, 4, 4), np.float32))
    assert caught.value.status == 422
    assert "tensor" not in handler.describe_input()
    pixels = np.full((4, 4, 3), 255, np.uint8)
    batch = batch_of(handler, pixels)
    assert (batch.dtype, int(batch.min())) == (torch.uint8, 255)
    assert handler.prepared({"image": batch})["image"].unique().tolist() == [2.0]


@given(
    size=st.tuples(SIDES, SIDES),
    resize=st.one_of(st.none(), SIDES, st.tuples(SIDES, SIDES).map(list)),
    crop=st.one_of(st.none(), SIDES),
    multiple=st.integers(1, 40),
    interpolation=st.sampled_from(["nearest", "opencv_area", "opencv_linear", "box"]),
    place=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_boxes_are_mapped_back_to_the_picture(
    size: tuple[int, int],
    resize: Any,
    crop: int | None,
    multiple: int,
    interpolation: str,
    place: tuple[float, float, float, float],
) -> None:
    width, height = size
    left, right = sorted(round(each * width) for each in place[:2])
    top, bottom = sorted(round(each * height) for each in place[2:])
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[top:bottom, left:right] = 255
    handler = configured(
        resize=resize, crop=crop, pad_to_multiple=multiple, interpolation=interpolation,
        input_dtype="uint8",
    )  # fmt: skip
    sample = handler.decode(pixels, handler.default_options)
    seen = sample.tensors["image"][0] >= 128
    assert all(side % multiple == 0 for side in seen.shape)
    assume(seen.any())
    rows, columns = (torch.nonzero(seen.any(dim=axis)).flatten() for axis in (1, 0))
    box = torch.tensor([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]]).float()
    found = sample.meta.to_original(box)[0]
    across, down = width / sample.meta.inner[0], height / sample.meta.inner[1]
    reach = torch.tensor([across, down] * 2).clamp(min=1) + 0.01
    visible = sample.meta.covered(*((crop, crop) if crop else sample.meta.inner))
    wanted = torch.tensor([
        max(left, visible[0]), max(top, visible[1]),
        min(right, visible[2]), min(bottom, visible[3]),
    ])  # fmt: skip
    assert ((found - wanted).abs() <= reach).all(), (found, wanted, reach)


@given(size=st.tuples(SIDES, SIDES), multiple=st.integers(2, 40))
def test_a_map_of_classes_is_the_pictures_without_what_was_added(
    size: tuple[int, int], multiple: int
) -> None:
    handler = SemanticSegmentation()
    handler.configure({"task": "semantic_segmentation", "pad_to_multiple": multiple}, Path())
    pixels = np.random.default_rng(0).integers(0, 2, (size[1], size[0]), dtype=np.uint8) * 255
    sample = handler.decode(pixels, handler.default_options)
    image = sample.tensors["image"]
    bright = (image[:1] >= 128).float()
    classes = likeliest(torch.cat([1 - bright, bright]), tuple(image.shape[-2:]), sample.meta)
    assert np.array_equal(classes.numpy() * 255, pixels)
