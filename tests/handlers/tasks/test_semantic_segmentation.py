"""Logits of any size to the class of each pixel of the original, as runs and as a picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handlers.errors import BadRequest, LoadError, ModelError
from handlers.images.pixels import Placement
from handlers.images.run_lengths import decode
from handlers.protocols import tensors
from handlers.task import NoOptions, Sample
from handlers.tasks.semantic_segmentation import SemanticSegmentation, likeliest, palette
from tests.support.answers import plain
from tests.support.images import encode, noise, png_header

Seen = Sample[NoOptions, Placement]


def configured(folder: Path, **section: Any) -> SemanticSegmentation:
    handler = SemanticSegmentation()
    handler.configure({"task": "semantic_segmentation", **section}, folder)
    return handler


def seen(size: tuple[int, int], inner: tuple[int, int] | None = None) -> Seen:
    inner = inner or size
    image = torch.zeros(3, inner[1], inner[0], dtype=torch.uint8)
    return Sample({"image": image}, NoOptions(), Placement(size, inner))


def numbers(answer: Any) -> Any:
    flat = decode(answer["classes"], answer["lengths"])
    return flat.reshape(answer["height"], answer["width"])


def logits_of(classes: Any, count: int) -> torch.Tensor:
    """(1, count, h, w) logits that are sure of their classes."""
    return torch.nn.functional.one_hot(torch.as_tensor(classes), count).permute(2, 0, 1)[None] * 9.0


def answer_of(handler: SemanticSegmentation, logits: torch.Tensor, *samples: Seen) -> list[Any]:
    return [answer.to_json() for answer in handler.answer({"output": logits}, samples)]


def test_each_pixel_has_its_class_and_each_label_its_area(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('["ground", "sky", "\\ud800"]')
    handler = configured(tmp_path, labels="labels.json")
    (answer,) = answer_of(handler, logits_of([[0, 0, 2], [2, 0, 0]], 3), seen((3, 2)))
    assert answer == {
        "height": 2,
        "width": 3,
        "classes": [0, 2, 0],
        "lengths": [2, 2, 2],
        "areas": {"ground": 4, "\ud800": 2},
    }


@pytest.mark.parametrize("size", [(24, 16), (7, 5), (50, 3), (1, 1), (1, 40)])
@pytest.mark.parametrize("coarse", [(16, 24), (8, 12), (3, 5), (1, 1)])
def test_logits_are_resized_as_torch_does_it(
    size: tuple[int, int], coarse: tuple[int, int]
) -> None:
    logits = torch.randn(4, *coarse, generator=torch.Generator().manual_seed(1))
    classes = likeliest(logits, (16, 24), Placement(size, (24, 16)))
    whole = torch.nn.functional.interpolate(logits[None], size[::-1], mode="bilinear")[0]
    assert classes.shape == (size[1], size[0])
    # Where two are as good as equal, either is right.
    chosen = whole.gather(0, classes[None].long())[0]
    torch.testing.assert_close(chosen, whole.amax(dim=0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize(("size", "landscape"), [((100, 50), True), ((30, 90), False)])
def test_what_surrounds_a_letterboxed_image_is_cut_off(
    tmp_path: Path, size: tuple[int, int], landscape: bool, scale: int
) -> None:
    handler = configured(tmp_path, resize=[32, 32], letterbox=True)
    image = Image.new("RGB", size, "white")
    sample = handler.decode(encode(image), NoOptions())
    shown = torch.zeros(32 // scale, 32 // scale, dtype=torch.int64)
    (width, height), left, top = sample.meta.inner, sample.meta.left, sample.meta.top
    first, last = (top, top + height) if landscape else (left, left + width)
    inside = slice(-(-first // scale), last // scale)
    shown[(inside, slice(None)) if landscape else (slice(None), inside)] = 1
    (answer,) = answer_of(handler, logits_of(shown, 2), sample)
    assert (answer["width"], answer["height"]) == size
    ones = answer["areas"].get("1", 0) / (size[0] * size[1])
    assert ones == 1 if first % scale == last % scale == 0 else ones > 0.7


def test_an_object_stays_where_it_is_in_the_original(tmp_path: Path) -> None:
    handler = configured(tmp_path, resize=[64, 64], letterbox=True, mean=[0.5])
    pixels = np.zeros((50, 100, 3), np.uint8)
    pixels[10:30, 60:90] = 255
    sample = handler.decode(encode(Image.fromarray(pixels)), NoOptions())
    bright = handler.collate([sample])["image"][:, :1]
    (answer,) = answer_of(handler, torch.cat([torch.zeros_like(bright), bright], dim=1), sample)
    wrong = (numbers(answer) == 1) != (pixels[..., 0] > 0)
    assert wrong[8:32, 58:92].mean() < 0.1
    assert wrong.mean() < 0.02


def test_as_a_picture_a_pixel_is_the_number_of_its_class(tmp_path: Path) -> None:
    handler = configured(tmp_path)
    classes = torch.arange(256).reshape(8, 32)
    (answer,) = handler.answer({"output": logits_of(classes, 256)}, [seen((32, 8))])
    picture = Image.open(io.BytesIO(answer.encode("image/png")))
    assert (picture.mode, picture.size, answer.media_types) == ("P", (32, 8), ("image/png",))
    assert np.array(picture).tolist() == classes.tolist()
    colours = np.array(picture.convert("RGB"))
    assert len({tuple(colour) for colour in colours.reshape(-1, 3).tolist()}) == 256


def test_colours_are_those_of_voc() -> None:
    colours = np.array(palette()).reshape(256, 3)
    for number, colour in {
        0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 4: (0, 0, 128), 8: (64, 0, 0),
        15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192),
    }.items():  # fmt: skip
        assert tuple(colours[number]) == colour


@settings(max_examples=40)
@given(st.data())
def test_in_a_batch_each_is_answered_as_alone(data: st.DataObject) -> None:
    handler = configured(Path(), resize=[12, 16])
    count, seed = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 99))
    logits = torch.randn(count, 5, 6, 8, generator=torch.Generator().manual_seed(seed))
    sizes = [(data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))) for _ in range(count)]
    samples = [seen(size, (16, 12)) for size in sizes]
    together = answer_of(handler, logits, *samples)
    for row, sample in enumerate(samples):
        assert [together[row]] == answer_of(handler, logits[row : row + 1], sample)
        assert sum(together[row]["lengths"]) == sizes[row][0] * sizes[row][1]
        assert sum(together[row]["areas"].values()) == sum(together[row]["lengths"])


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 4), (1, 257, 2, 2), (1, 0, 2, 2), (1, 3, 0, 2)])
def test_a_model_that_is_no_segmenter_is_told(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"must answer \(N, classes, h, w\)"):
        answer_of(configured(tmp_path), torch.zeros(shape), seen((4, 4)))


def test_logits_that_are_no_numbers_are_the_models_fault(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not finite"):
        answer_of(configured(tmp_path), torch.full((1, 2, 4, 4), torch.nan), seen((4, 4)))


@pytest.mark.parametrize(
    ("section", "fits"),
    [
        ({"crop": 8}, False),
        ({"resize": 8, "crop": 8}, False),
        ({"resize": [8, 9], "crop": 8}, False),
        ({"resize": [8, 9], "crop": [8, 9]}, True),
        ({"resize": [8, 8], "crop": 16}, True),
        ({"resize": [8, 9], "letterbox": True}, True),
    ],
)
def test_no_pixel_may_be_cropped_away(tmp_path: Path, section: Any, fits: bool) -> None:
    if fits:
        configured(tmp_path, **section)
    else:
        with pytest.raises(LoadError, match="'crop' would remove pixels"):
            configured(tmp_path, **section)


def test_a_padding_crop_is_cut_off_again(tmp_path: Path) -> None:
    handler = configured(tmp_path, resize=[8, 8], crop=16)
    sample = handler.decode(encode(noise(8, 8, "RGB")), NoOptions())
    shown = torch.zeros(16, 16, dtype=torch.int64)
    shown[4:12, 4:12] = 1
    (answer,) = answer_of(handler, logits_of(shown, 2), sample)
    assert answer["areas"] == {"1": 64}


def test_large_images_are_refused_sooner_than_elsewhere(tmp_path: Path) -> None:
    handler = configured(tmp_path, resize=[8, 8])
    with pytest.raises(BadRequest, match="larger than 4000000 pixels") as caught:
        handler.decode(png_header(2001, 2000), NoOptions())
    assert caught.value.status == 413


@pytest.mark.parametrize("size", [(1_000_000, 1), (1, 1_000_000)])
def test_long_and_thin_images_take_no_more_than_others(size: tuple[int, int]) -> None:
    logits = torch.randn(3, 512, 512, generator=torch.Generator().manual_seed(0))
    classes = likeliest(logits, (512, 512), Placement(size, (512, 512)))
    assert classes.shape == (size[1], size[0])


def test_answers_are_columns_in_v2(tmp_path: Path) -> None:
    handler = configured(tmp_path)
    logits = torch.cat([logits_of([[0, 1]], 2), logits_of([[1, 1]], 2)])
    answers = handler.answer({"output": logits}, [seen((2, 1)), seen((2, 1))])
    columns = [column.to_json() for column in tensors.columns(answers)]
    named = {column["name"]: column for column in columns}
    assert named["height"]["data"] == [1, 1]
    assert (named["lengths"]["shape"], named["lengths"]["data"]) == ([3], [1, 1, 2])
    assert named["counts"]["data"] == [2, 1]
    assert [*plain(handler.Answer.schema())["required"], "counts"] == [c["name"] for c in columns]
