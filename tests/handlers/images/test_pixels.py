"""Encoded images to tensors: every mode and format, and what hostile bytes do."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handlers.errors import BadRequest
from handlers.images.limits import FORMATS, Limits
from handlers.images.normalising import Normalisation, normalise
from handlers.images.pixels import (
    GREY,
    RESAMPLING,
    Interpolation,
    Placement,
    center_crop,
    corner,
    letterbox,
    open_image,
    padded,
    resize,
    to_mode,
    to_tensor,
    upright,
    within,
    without_key,
)
from tests.support.images import encode, noise, png_header

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("L", "RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16B"),
}
LIMIT = 1_000_000


def refused(data: bytes, max_pixels: int = LIMIT) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        open_image(data, Limits(max_pixels))
    return caught.value


def in_mode(mode: str) -> Image.Image:
    if mode.startswith("I;16"):
        pixels = np.arange(63, dtype="<u2").reshape(7, 9) * 1040
        return Image.frombytes(mode, (9, 7), pixels.astype(">u2" if mode[-1] == "B" else "<u2"))
    return noise(9, 7, "RGB").convert(mode)


@pytest.mark.parametrize("greyscale", [True, False])
@pytest.mark.parametrize(
    ("form", "mode"), [(form, mode) for form in FORMATS for mode in MODES[form]]
)
def test_every_format_in_every_mode_becomes_bytes(form: str, mode: str, greyscale: bool) -> None:
    image = open_image(encode(in_mode(mode), form), Limits(LIMIT))
    pixels = to_tensor(to_mode(image, greyscale=greyscale))
    assert pixels.shape == (1 if greyscale else 3, 7, 9)
    assert pixels.dtype == torch.uint8
    assert pixels.float().std() > 10


@pytest.mark.parametrize(("form", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("TIFF", "I;16B")])
def test_sixteen_bits_are_scaled_not_clipped(form: str, mode: str) -> None:
    image = open_image(encode(in_mode(mode), form), Limits(LIMIT))
    pixels = to_tensor(to_mode(image, greyscale=True))
    assert pixels.flatten().tolist() == [i * 1040 // 256 for i in range(63)]


@pytest.mark.parametrize(("mode", "word"), [("I", "32-bit"), ("F", "32-bit"), ("LAB", "LAB")])
def test_pixels_without_an_agreed_white_are_refused(mode: str, word: str) -> None:
    opened = open_image(encode(Image.new(mode, (8, 8)), "TIFF"), Limits(LIMIT))
    with pytest.raises(BadRequest, match=word) as caught:
        to_mode(opened, greyscale=True)
    assert caught.value.status == 415


def test_a_transparent_palette_is_read_without_a_warning() -> None:
    image = noise(9, 7, "RGB").convert("P")
    data = encode(image, "PNG", transparency=bytes(range(256)))
    assert to_mode(open_image(data, Limits(LIMIT)), greyscale=False).mode == "RGB"


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_many_frames_the_first_is_taken(form: str) -> None:
    frames = [Image.new("RGB", (9, 7), colour) for colour in ("white", "black")]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
    image = to_mode(open_image(data, Limits(LIMIT)), greyscale=True)
    assert to_tensor(image).min() == 255


@pytest.mark.parametrize("data", [b"\x00", b"PNG", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"P6 1 1 255 aaa"])
def test_what_is_no_image_of_a_known_format_is_415(data: bytes) -> None:
    error = refused(data)
    assert error.status == 415
    assert "PNG" in error.hint


@pytest.mark.parametrize("size", [(50_000, 50_000), (2**31 - 1, 2**31 - 1), (1_000_001, 1)])
def test_a_huge_header_is_refused_before_anything_is_decoded(size: tuple[int, int]) -> None:
    with mock.patch("PIL.ImageFile.ImageFile.load") as load:
        error = refused(png_header(*size))
    load.assert_not_called()
    assert error.status == 413
    assert str(LIMIT) in error.message


def test_the_limit_itself_is_allowed() -> None:
    assert open_image(encode(noise(10, 10)), Limits(100)).size == (10, 10)
    assert refused(encode(noise(101, 1)), max_pixels=100).status == 413


@pytest.mark.parametrize("form", FORMATS)
def test_half_an_image_is_refused(form: str) -> None:
    data = encode(noise(32, 32, "RGB"), form)
    assert refused(data[: len(data) // 2]).status == 400


@pytest.mark.parametrize("form", FORMATS)
@given(st.data())
def test_a_damaged_image_is_an_image_or_a_bad_request(form: str, data: st.DataObject) -> None:
    damaged = bytearray(encode(noise(9, 7, "RGB"), form))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = open_image(bytes(damaged), Limits(LIMIT))
        pixels = to_tensor(to_mode(image, greyscale=False))
    except BadRequest:
        return
    assert pixels.shape[0] == 3


@pytest.mark.parametrize("interpolation", RESAMPLING)
def test_resize_is_pils_and_takes_height_before_width(interpolation: Interpolation) -> None:
    image = resize(noise(9, 7), (4, 6), interpolation, max_pixels=LIMIT)
    assert (image.height, image.width) == (4, 6)
    assert image == noise(9, 7).resize((6, 4), Image.Resampling[interpolation.upper()])


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64))
def test_resize_by_the_shorter_side_keeps_the_aspect(width: int, height: int, side: int) -> None:
    image = resize(Image.new("L", (width, height)), side, "nearest", max_pixels=10**9)
    assert min(image.size) == side
    # As torchvision rounds: down.
    assert max(image.size) == side * max(width, height) // min(width, height)


def test_resize_leaves_what_fits() -> None:
    image = noise(9, 7)
    assert resize(image, None, "bilinear", max_pixels=LIMIT) is image
    assert resize(image, 7, "bilinear", max_pixels=LIMIT) is image
    assert resize(image, (7, 9), "bilinear", max_pixels=LIMIT) is image


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
def test_a_hair_is_not_blown_up_to_gigapixels(size: tuple[int, int]) -> None:
    # 224 by 4,480,000: a gigabyte for a request of a few bytes.
    with pytest.raises(BadRequest, match="too long and thin") as caught:
        resize(Image.new("L", size), 224, "bilinear", max_pixels=50_000_000)
    assert caught.value.status == 413


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_center_crop_is_the_middle(width: int, height: int, wide: int, high: int) -> None:
    pixels = to_tensor(center_crop(Image.new("L", (width, height), 255), (high, wide)))
    assert pixels.shape == (1, high, wide)
    assert (pixels > 0).sum() == min(width, wide) * min(height, high)


def test_center_crop_of_even_in_even() -> None:
    image = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4))
    assert to_tensor(center_crop(image, 2)).tolist() == [[[5, 6], [9, 10]]]
    assert center_crop(image, None) is image


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.floats(-1, 1)] * 3),
    st.tuples(*[st.floats(0.05, 2)] * 3),
)
def test_normalise_matches_its_formula(seed: int, mean: tuple[float], std: tuple[float]) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    columns = np.array(mean)[:, None, None], np.array(std)[:, None, None]
    expected = (pixels / 255 - columns[0]) / columns[1]  # in float64
    found = normalise(torch.from_numpy(pixels), mean, std)
    assert found.dtype == torch.float32
    # Values are up to 40; float32 has 7 digits.
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("white", [1, 255])
def test_mean_and_std_are_of_pixels_up_to_white(white: float) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    found = normalise(pixels, [0.5 * white], [0.25 * white], white)
    torch.testing.assert_close(found, (pixels / 255 - 0.5) / 0.25)
    raw = torch.arange(256.0).view(1, 1, 16, 16) * (white / 255)
    torch.testing.assert_close(normalise(pixels, [0.0], [1.0], white), raw)


def test_normalise_leaves_the_pixels_as_they_were() -> None:
    pixels = torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)
    assert normalise(pixels, [0.0], [1.0]).max() == 1
    assert pixels.min() == 255


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_model_normalises_as_the_handler_does(dtype: torch.dtype, channels_last: bool) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).repeat(2, 3, 1).view(2, 3, 16, 16)
    settings = [123.7, 116.3, 103.5], [58.4, 57.1, 57.4], 255.0
    module = Normalisation(*settings, channels_last=channels_last).to(dtype)
    axis = 3 if channels_last else 1
    found = module(pixels.movedim(1, axis)).movedim(axis, 1)
    assert found.dtype == dtype
    assert torch.equal(found, normalise(pixels, *settings).to(dtype))  # rounded once, at the end


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_a_letterbox_keeps_the_aspect_and_says_where_the_image_is(
    size: tuple[int, int], box: tuple[int, int]
) -> None:
    image, placement = letterbox(Image.new("RGB", size, (255, 0, 0)), box, "nearest")
    assert image.size == (box[1], box[0])
    (left, top), (width, height) = (placement.left, placement.top), placement.inner
    pixels = np.array(image)
    red = (pixels == (255, 0, 0)).all(axis=-1)
    assert red[top : top + height, left : left + width].all()
    assert red.sum() == width * height
    assert (pixels[~red] == GREY).all()
    assert width == box[1] or height == box[0]
    scale = min(box[1] / size[0], box[0] / size[1])
    assert abs(width - size[0] * scale) <= 1
    assert abs(height - size[1] * scale) <= 1


def test_a_box_goes_back_to_where_it_was() -> None:
    _, placement = letterbox(Image.new("L", (200, 100)), (50, 50), "nearest")
    assert (placement.inner, placement.left, placement.top) == ((50, 25), 0, 12)
    boxes = torch.tensor([[0.0, 12.0, 25.0, 37.0], [-5.0, 0.0, 60.0, 60.0]])
    assert placement.to_original(boxes).tolist() == [[0, 0, 100, 100], [0, 0, 200, 100]]
    cropped = Placement((100, 100), (50, 50), -10, -10)
    assert cropped.to_original(torch.tensor([[0.0, 0, 30, 30]])).tolist() == [[20, 20, 80, 80]]


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.integers(1, 40),
    st.sampled_from(["L", "RGB"]),
)
def test_padding_adds_below_and_to_the_right(
    size: tuple[int, int], multiple: int, mode: str
) -> None:
    image = Image.new(mode, size, "white")
    pixels = np.asarray(padded(image, multiple, 7))
    height, width = pixels.shape[:2]
    assert (height % multiple, width % multiple) == (0, 0)
    assert max(width - size[0], height - size[1]) < multiple
    assert (pixels[: size[1], : size[0]] == 255).all()
    assert (pixels == 255).sum() == size[0] * size[1] * len(image.getbands())
    assert set(np.unique(pixels)) <= {7, 255}


@pytest.mark.parametrize(
    ("size", "longer", "multiple", "wanted"),
    [
        ((640, 480), 1333, 1, (1066, 800)),
        ((480, 640), 1333, 1, (800, 1066)),
        ((2000, 500), 1333, 1, (1332, 333)),
        ((640, 480), None, 16, (1056, 800)),
        ((9000, 3), 1333, 1, (1333, 1)),
        ((3, 9000), 1333, 16, (16, 1328)),
        ((800, 801), 1333, 1, (800, 801)),
    ],
)
def test_a_longer_side_is_bounded(
    size: tuple[int, int], longer: int | None, multiple: int, wanted: tuple[int, int]
) -> None:
    found = within(size, 800, longer, multiple)
    assert found == pytest.approx(wanted, abs=1)
    assert all(side % multiple == 0 for side in found)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_camera_was(orientation: int) -> None:
    scene = noise(9, 7, "RGB")
    turns = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = scene
    for turn in turns.get(orientation, []):
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = open_image(encode(stored, exif=exif), Limits(LIMIT))
    assert np.array_equal(np.asarray(upright(image)), np.asarray(scene))


def test_damaged_exif_turns_nothing() -> None:
    image = open_image(
        encode(noise(9, 7, "RGB"), exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f"), Limits(LIMIT)
    )
    assert upright(image).size == (9, 7)


@pytest.mark.parametrize(
    ("mode", "form"), [("P", "GIF"), ("P", "PNG"), ("L", "PNG"), ("RGB", "PNG")]
)
def test_a_transparent_colour_can_become_white(mode: str, form: str) -> None:
    black = Image.new(mode, (4, 2), 0)
    key: object = (0, 0, 0) if mode == "RGB" else 0
    image = open_image(encode(black, form, transparency=key), Limits(LIMIT))
    assert np.asarray(without_key(image)).min() == 255
    assert np.asarray(to_mode(image, greyscale=False)).max() == 0


def test_other_transparency_is_dropped_all_the_same() -> None:
    for mode in ("RGBA", "LA", "RGB"):
        image = open_image(encode(noise(4, 2, mode)), Limits(LIMIT))
        assert without_key(image) is image
    palette = noise(4, 2, "RGB").quantize(4)
    image = open_image(encode(palette, transparency=bytes([9, 200, 0, 255])), Limits(LIMIT))
    assert without_key(image) is image


def test_a_colour_that_is_not_there_is_no_error() -> None:
    image = noise(4, 2, "L")
    image.info["transparency"] = (1, 2, 3, 4, 5)
    assert without_key(image).size == (4, 2)


@pytest.mark.parametrize(("side", "even", "down"), [(8, 0, 0), (9, 0, 0), (11, 2, 1), (5, -2, -2)])
def test_a_corner_between_pixels_is_rounded_as_is_said(side: int, even: int, down: int) -> None:
    assert corner((side, side), 8) == (even, even)
    assert corner((side, side), 8, down=True) == (down, down)


RED, PAPER = (200, 30, 10), (255, 255, 255)


def cmyk(form: str) -> bytes:
    """A red image of ink, without yellow's rounding: JPEG has it inverted, as Adobe does."""
    return encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), form)


def palette(**options: Any) -> bytes:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, *RED])
    return encode(image, **options)


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        (cmyk("TIFF"), (255, 0, 0)),
        (cmyk("JPEG"), (255, 0, 0)),
        (encode(Image.new("1", (16, 16), 1)), (255, 255, 255)),
        (encode(Image.fromarray(np.full((16, 16), 0x80FF, np.uint16))), (128, 128, 128)),
        (palette(), RED),
        (palette(transparency=bytes([255, 0])), RED),
        (palette(transparency=1), RED),
        (encode(Image.new("RGBA", (16, 16), (*RED, 0))), RED),
        (encode(Image.new("LA", (16, 16), (77, 3))), (77, 77, 77)),
        (
            encode(
                Image.new("RGB", (16, 16), RED), "GIF",
                save_all=True, append_images=[Image.new("RGB", (16, 16), PAPER)],
            ),
            RED,
        ),
    ],
    ids=[
        "cmyk", "inverted cmyk", "one bit", "sixteen bits", "palette", "palette with alpha",
        "transparent colour", "alpha", "grey with alpha", "animation",
    ],
)  # fmt: skip
def test_each_row_of_the_table_in_the_docs(data: bytes, colour: tuple[int, int, int]) -> None:
    found = np.asarray(to_mode(open_image(data, Limits()), greyscale=False)).reshape(-1, 3)
    assert np.abs(found.astype(int) - colour).max() <= 2  # a JPEG rounds
