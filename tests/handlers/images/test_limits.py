"""Images that cost far more than their bytes: each is refused before its pixels are decoded."""

from __future__ import annotations

import dataclasses
import resource
from unittest import mock

import pytest
from PIL import Image

from handlers.errors import BadRequest
from handlers.images.limits import MAX_READS, Limits, check_together, decoded_bytes, open_header
from handlers.images.pixels import open_image
from tests.support.images import (
    blank_png,
    encode,
    jpeg_of_scans,
    noise,
    png_chunk,
    run_length_bmp,
)

ROOM = Limits(max_pixels=10**9)


def refused(data: bytes, limits: Limits = ROOM) -> BadRequest:
    """The refusal of an image, none of whose pixels was decoded."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with mock.patch("PIL.ImageFile.ImageFile.load") as load, pytest.raises(BadRequest) as caught:
        open_image(data, limits)
    load.assert_not_called()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 20 * len(data) + 30_000_000
    return caught.value


@pytest.mark.parametrize(
    ("data", "setting"),
    [
        (blank_png(1, 49_000_000), "max_image_side"),
        (blank_png(65_536, 2), "max_image_side"),
        (blank_png(7_000, 7_000, colour=6), "max_image_bytes"),
        (blank_png(6_000, 6_000, depth=16, colour=6), "max_image_bytes"),
        (run_length_bmp(3_000, 3_000), "max_image_bytes"),
        (jpeg_of_scans(58), "max_jpeg_scans"),
    ],
    ids=["hair", "long", "alpha", "sixteen bits", "run lengths", "scans"],
)
def test_a_bomb_is_refused_by_the_setting_that_it_is_beyond(data: bytes, setting: str) -> None:
    error = refused(data)
    assert error.status == 413
    assert setting in error.hint
    assert str(getattr(Limits, setting)) in error.message


@pytest.mark.parametrize("form", ["JPEG", "GIF", "PNG"])
def test_a_file_of_millions_of_pieces_is_not_read_to_its_end(form: str) -> None:
    whole = encode(noise(8, 8), form)
    place = {"JPEG": 2, "PNG": 33, "GIF": whole.rindex(b"\x2c", 0, 900) if form == "GIF" else 0}
    piece = {
        "JPEG": b"\xff\xe1\x00\x09Exif\x00\x00a",
        "PNG": png_chunk(b"abCd", b""),
        "GIF": b"\x21\xfe\x01a\x00",
    }
    start = place[form]
    data = whole[:start] + piece[form] * MAX_READS + whole[start:]
    error = refused(data)
    assert error.status == 413
    assert "too many pieces" in error.message
    few = whole[:start] + piece[form] * 50 + whole[start:]
    assert open_image(few, ROOM).size == (8, 8)


def test_the_scans_of_a_thumbnail_and_of_other_pictures_do_not_count() -> None:
    many = jpeg_of_scans(20)
    inside = b"\xff\xe1" + (2 + 6 + 200).to_bytes(2, "big") + b"Other\x00" + b"\xff\xda" * 100
    assert open_image(many[:2] + inside + many[2:] + many, ROOM).size == (64, 64)
    assert refused(jpeg_of_scans(21)).status == 413


def test_what_cameras_and_encoders_write_is_allowed() -> None:
    for mode, options in (("RGB", {}), ("L", {}), ("CMYK", {"progressive": True})):
        data = encode(noise(64, 48, mode), "JPEG", **options)
        assert open_image(data, Limits()).size == (64, 48)
    for size in ((8064, 6048), (6048, 8064)):  # a telephone's 48 megapixels
        with mock.patch("PIL.ImageFile.ImageFile.load") as load:
            open_image(encode(Image.new("RGB", size), "JPEG", quality=10), Limits())
        load.assert_called()


@pytest.mark.parametrize(
    ("form", "mode", "each"),
    [
        ("PNG", "RGB", 7), ("PNG", "RGBA", 12), ("PNG", "L", 6), ("JPEG", "RGB", 4),
        ("JPEG", "CMYK", 8), ("WEBP", "RGB", 12), ("GIF", "P", 5), ("BMP", "RGB", 4),
        ("TIFF", "RGB", 7),
    ],
)  # fmt: skip
def test_the_estimate_is_of_the_decoder_the_image_and_its_rgb(
    form: str, mode: str, each: int
) -> None:
    image = open_header(encode(noise(40, 30, "RGB").convert(mode), form))
    assert decoded_bytes(image, 0, Limits()) == each * 40 * 30 + 24 * 30


def test_images_are_bounded_together() -> None:
    data = encode(noise(100, 100, "RGB"))
    limits = dataclasses.replace(ROOM, max_image_bytes=200_000)
    check_together([data] * 2, 0, limits)
    for given, bounds in (
        (([data] * 3, 0), limits),
        (([data] * 3, 0), Limits(max_pixels=29_999)),
        (([], 30_000), Limits(max_pixels=29_999)),
    ):
        with pytest.raises(BadRequest, match="the request's images") as caught:
            check_together(*given, bounds)
        assert caught.value.status == 413
        assert "the setting is" in caught.value.hint


def test_run_lengths_are_read_run_by_run() -> None:
    assert open_image(run_length_bmp(20, 40_000), Limits()).size == (20, 40_000)  # 160,000 reads


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_only_the_first_frame_is_decoded(form: str) -> None:
    frames = [noise(16, 16, "RGB", seed) for seed in range(12)]
    data = encode(frames[0], form, save_all=True, append_images=frames[1:])
    cut = data[: len(data) * 2 // 3] if form in ("GIF", "PNG") else data
    image = open_image(cut, Limits())  # what comes later need not even be there
    assert image.size == (16, 16)
    assert getattr(image, "tell", lambda: 0)() == 0
