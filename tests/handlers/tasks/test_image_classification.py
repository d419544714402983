"""Images in, labels and scores out: everything but the model itself."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from handlers.errors import BadRequest, LoadError, ModelError
from handlers.images.pixels import Placement
from handlers.task import Sample
from handlers.tasks.image_classification import ImageClassification
from handlers.tasks.image_classification import ImageClassificationOptions as Options
from handlers.tensors import numpy_files
from tests.support.images import encode, noise, png_header

UNPLACED = Placement((0, 0), (0, 0))  # no classifier asks for it


def configured(folder: Path, **section: Any) -> ImageClassification:
    handler = ImageClassification()
    handler.configure({"task": "image_classification", **section}, folder)
    return handler


@pytest.fixture
def grey(tmp_path: Path) -> ImageClassification:
    return configured(tmp_path, greyscale=True, resize=[8, 8], mean=[0.5], std=[0.25])


@pytest.fixture
def colour(tmp_path: Path) -> ImageClassification:
    return configured(tmp_path, resize=16, crop=[8, 12], max_pixels=1_000_000)


def image_of(handler: ImageClassification, instance: Any) -> torch.Tensor:
    return handler.decode(instance, Options()).tensors["image"]


def refused(handler: ImageClassification, instance: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        handler.decode(instance, Options())
    assert len(caught.value.message) < 300
    return caught.value


def test_bytes_and_base64_are_the_same_image(grey: ImageClassification) -> None:
    data = encode(noise())
    image = image_of(grey, data)
    assert (image.shape, image.dtype) == ((1, 8, 8), torch.uint8)
    assert torch.equal(image_of(grey, base64.b64encode(data).decode()), image)
    assert torch.equal(image, torch.from_numpy(np.array(noise()))[None])


def test_pixels_are_an_image_without_a_file(grey: ImageClassification) -> None:
    assert torch.equal(image_of(grey, np.array(noise())), image_of(grey, encode(noise())))
    file = numpy_files.write_one(np.array(noise()))
    assert torch.equal(image_of(grey, file), image_of(grey, encode(noise())))
    in_colour = noise(8, 8, "RGB")
    assert torch.equal(image_of(grey, np.array(in_colour)), image_of(grey, encode(in_colour)))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P", "1"])
def test_any_image_becomes_the_models_size(colour: ImageClassification, mode: str) -> None:
    image = noise(40, 30, "RGB").convert(mode)
    data = encode(image, "TIFF")
    assert image_of(colour, data).shape == (3, 8, 12)


def test_images_in_arrays_count_together(tmp_path: Path) -> None:
    grey = configured(tmp_path, greyscale=True, max_pixels=1_000_000)
    large = numpy_files.write_one(np.zeros((900, 900), np.uint8))
    grey.screen([large])
    with pytest.raises(BadRequest, match="together"):
        grey.screen([large, np.zeros((900, 900), np.uint8)])
    grey.screen([large, large[:-1]])  # it is refused for its own fault


def test_a_tensor_is_taken_as_it_is(grey: ImageClassification) -> None:
    values = torch.linspace(-2, 2, 64).reshape(1, 8, 8)
    file = numpy_files.write_one(values.numpy())
    for instance in (values.numpy(), values.tolist(), values.numpy().astype(np.float64), file):
        image = image_of(grey, instance)
        assert image.dtype == torch.float32
        torch.testing.assert_close(image, values)
    batch = grey.collate([Sample({"image": values}, Options(), UNPLACED)])["image"]
    assert torch.equal(batch[0], values)


def test_pixels_are_normalised_and_tensors_are_not(grey: ImageClassification) -> None:
    pixels = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 2)
    batch = grey.collate([Sample({"image": pixels}, Options(), UNPLACED)])["image"]
    torch.testing.assert_close(batch.flatten(), torch.tensor([-2.0, 2.0]))


@pytest.mark.parametrize("size", [(0, 8), (8, 0), (0, 0)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_an_image_of_nothing_is_refused(tmp_path: Path, size: tuple[int, int], dtype: Any) -> None:
    anything = configured(tmp_path)
    shape = (*size, 3) if dtype is np.uint8 else (3, *size)
    assert refused(anything, np.zeros(shape, dtype)).status == 422


@pytest.mark.parametrize(
    ("instance", "status", "words"),
    [
        (b"not an image", 415, "not an image"),
        ("not base64!", 400, "not base64"),
        (png_header(50_000, 50_000), 413, "larger than 1000000 pixels"),
        (encode(noise(1, 20_000)), 413, "too long and thin"),
        (np.zeros((20_000, 1), np.uint8), 413, "too long and thin"),
        ({"image": 1}, 400, "not an object"),
        (None, 400, "not null"),
        (True, 400, "not a boolean"),
        (7, 400, "not an integer"),
        (np.float32(7), 400, "not a float32"),
        ([], 422, r"must be (3, 8, 12), not (0,)"),
        ([1, 2], 422, r"must be (3, 8, 12), not (2,)"),
        ([[1], [2, 3]], 400, "ragged"),
        (["a"], 400, "not a number"),
        ([[[0.0] * 12] * 8], 422, r"not (1, 8, 12)"),
        ([[[1e39] * 12] * 8] * 3, 422, "NaN or infinity"),
        (np.full((3, 8, 12), 1e300), 422, "NaN or infinity"),
        (np.full((3, 8, 12), np.nan, np.float32), 422, "NaN or infinity"),
        (np.zeros((8, 12, 4), np.uint8), 422, "pixels must be"),
        (np.zeros((3,), np.uint8), 422, "pixels must be"),
        (numpy_files.write_one(np.zeros((20_000, 1), np.uint8)), 413, "too long and thin"),
        (numpy_files.write_one(np.array(7, np.uint8)), 422, "pixels must be"),
        (numpy_files.write_one(np.zeros(3))[:-1], 400, "do not fit its shape"),
    ],
    ids=range(23),
)
def test_what_cannot_be_served_is_told_why(
    colour: ImageClassification, instance: Any, status: int, words: str
) -> None:
    error = refused(colour, instance)
    assert (error.status, words in error.message) == (status, True), error.message


def answers(handler: ImageClassification, logits: torch.Tensor, *top_k: int) -> list[Any]:
    samples = [Sample({}, Options(top_k=k), UNPLACED) for k in top_k]
    return [answer.to_json() for answer in handler.answer({"output": logits}, samples)]


def test_each_sample_gets_its_own_top_k_best_first(grey: ImageClassification) -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [5.0, 1.0, 3.0]])
    one, two = answers(grey, logits, 1, 10**40)
    assert list(one) == ["2"]
    assert list(two) == ["0", "2", "1"]
    assert sum(two.values()) == pytest.approx(1, abs=1e-6)
    assert list(two.values()) == sorted(two.values(), reverse=True)


def test_an_image_may_have_several_labels(tmp_path: Path) -> None:
    handler = configured(tmp_path, activation="sigmoid")
    (found,) = handler.answer(
        {"logits": torch.tensor([[2.0, -1.0, 3.0]])}, [Sample({}, Options(), UNPLACED)]
    )
    wanted = torch.tensor([3.0, 2.0, -1.0]).sigmoid().tolist()
    assert found.to_json() == pytest.approx(dict(zip(["2", "0", "1"], wanted, strict=True)))


@pytest.mark.parametrize("resize", [None, [16, 16]])
@pytest.mark.parametrize("bound", [{"max_side": 32}, {"side_multiple": 16}])
def test_a_bound_of_sides_needs_a_shorter_side(
    tmp_path: Path, resize: Any, bound: dict[str, int]
) -> None:
    with pytest.raises(LoadError, match="need 'resize' to be the shorter side"):
        configured(tmp_path, resize=resize, **bound)


def test_labels_name_the_classes(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('["cat", "größe", "\\ud800"]')
    handler = configured(tmp_path, labels="labels.json")
    (answer,) = answers(handler, torch.tensor([[0.0, 1.0, 2.0]]), 3)
    assert list(answer) == ["\ud800", "größe", "cat"]
    with pytest.raises(ModelError, match="3 labels for 2 classes"):
        answers(handler, torch.zeros(1, 2), 1)


def test_a_model_that_is_no_classifier_is_told(grey: ImageClassification) -> None:
    with pytest.raises(ModelError, match=r"\(N, classes\), this one \(1, 2, 3\)"):
        answers(grey, torch.zeros(1, 2, 3), 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "labels can't be read from labels.json"),
        ("{", "labels can't be read from labels.json"),
        ("{}", "must be a JSON list of strings"),
        ("[1]", "must be a JSON list of strings"),
        ('["a", "a"]', "must be unique"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(
    tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "labels.json").write_text(content)
    with pytest.raises(LoadError, match=words):
        configured(tmp_path, labels="labels.json")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"grayscale": True}, "'grayscale' is not allowed in the handler section; did you mean"),
        ({"resize": 0}, "'resize' in the handler section must be at least 1"),
        ({"interpolation": "cubic"}, "must be one of 'nearest', 'bilinear', 'bicubic'"),
        ({"mean": [0.1, 0.2]}, "'mean' must have 1 or 3 numbers, not 2"),
        ({"std": [0, 1, 1]}, "'std' must not be 0"),
        ({"defaults": {"top_k": 0}}, "'top_k' in handler.defaults must be at least 1"),
        ({"defaults": {"topk": 1}}, "'topk' is not allowed in handler.defaults; did you mean"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError) as caught:
        configured(tmp_path, **section)
    assert words in str(caught.value)


def test_a_model_may_take_blue_first(tmp_path: Path) -> None:
    settings: Any = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    rgb = configured(tmp_path, **settings)
    bgr = configured(tmp_path, colours="bgr", **{k: v[::-1] for k, v in settings.items()})
    image = noise(9, 7, "RGB")
    for instance in (encode(image), np.asarray(image)):
        found, wanted = (
            each.collate([each.decode(instance, Options())])["image"] for each in (bgr, rgb)
        )
        assert torch.equal(found, wanted.flip(1))
    own = np.random.default_rng(0).random((3, 7, 9), dtype=np.float32)  # already in its order
    assert torch.equal(image_of(bgr, own), torch.from_numpy(own))
    assert json.loads(json.dumps(bgr.describe_input()))["tensor"]["colours"] == "bgr"
    with pytest.raises(LoadError, match="'greyscale' has no 'colours'"):
        configured(tmp_path, greyscale=True, colours="bgr")


@pytest.mark.parametrize("greyscale", [True, False])
def test_the_ground_of_a_letterbox_may_have_another_grey(tmp_path: Path, greyscale: bool) -> None:
    handler = configured(
        tmp_path, resize=[8, 8], letterbox=True, letterbox_grey=3, greyscale=greyscale
    )
    pixels = image_of(handler, encode(Image.new("L", (8, 4), 200)))
    assert (pixels[:, :2] == 3).all()
    assert (pixels[:, 2:6] == 200).all()
    assert (pixels[:, 6:] == 3).all()


def test_mean_and_std_may_be_of_pixels_up_to_255(tmp_path: Path) -> None:
    one = configured(tmp_path, greyscale=True, mean=[127 / 255], std=[128 / 255])
    same = configured(tmp_path, greyscale=True, mean=[127], std=[128], pixel_range=255)
    body = encode(noise(9, 7))
    batches = [each.collate([each.decode(body, Options())]) for each in (one, same)]
    torch.testing.assert_close(batches[0], batches[1])
    with pytest.raises(LoadError, match="'pixel_range' in the handler section must be one of"):
        configured(tmp_path, pixel_range=256)


@pytest.mark.parametrize("section", [{}, {"resize": 9}, {"crop": [3, 5]}, {"greyscale": True}])
def test_the_example_is_an_image_that_can_be_served(tmp_path: Path, section: Any) -> None:
    handler = configured(tmp_path, **section)
    media_type, body = handler.example()
    assert media_type == "image/png"
    assert Image.open(io.BytesIO(body)).format == "PNG"
    assert image_of(handler, body).shape[0] == (1 if section.get("greyscale") else 3)


def test_what_it_takes_is_json(colour: ImageClassification) -> None:
    described = json.loads(json.dumps(colour.describe_input()))
    assert described["tensor"]["shape"] == [3, 8, 12]
    assert described["max_pixels"] == 1_000_000


def test_a_request_of_many_large_images_is_refused_before_any_is_decoded(tmp_path: Path) -> None:
    handler = configured(tmp_path, max_pixels=10_000)
    large = base64.b64encode(png_header(60, 100)).decode()
    handler.screen([large])
    with pytest.raises(BadRequest, match="12000 pixels together; at most 10000") as caught:
        handler.screen([large, "no base64!", b"no image", large])
    assert caught.value.status == 413
    with pytest.raises(BadRequest, match="12000 pixels together"):
        handler.screen([large, np.zeros((60, 100, 3), np.uint8)])


def test_pixels_without_a_file_are_counted_too(colour: ImageClassification) -> None:
    assert refused(colour, np.zeros((1001, 1000), dtype=np.uint8)).status == 413


def test_a_photograph_is_seen_upright_unless_the_archive_says_otherwise(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scene = noise(12, 8, "RGB")
    lying = scene.transpose(Image.Transpose.ROTATE_90)
    photograph = encode(lying, exif=exif)
    by_default, as_stored = configured(tmp_path), configured(tmp_path, upright=False)
    assert torch.equal(image_of(by_default, photograph), image_of(by_default, encode(scene)))
    assert torch.equal(image_of(as_stored, photograph), image_of(as_stored, encode(lying)))
    assert by_default.describe_input()["upright"] is True
    assert as_stored.describe_input()["upright"] is False
