"""What may be sent, and how it travels."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from marsmith.client import bodies
from marsmith.errors import MarsmithError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=30)
@given(PLAIN)
def test_what_json_has_travels_as_json(value: object) -> None:
    body, kind = bodies.encode(value)
    assert (json.loads(body), kind) == (value, "application/json")


@settings(max_examples=20)
@given(st.binary())
def test_bytes_travel_as_they_are(value: bytes) -> None:
    for each in (value, bytearray(value), memoryview(value)):
        assert bodies.encode(each) == (value, "")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.array([1.5, -2], np.float32),
        np.array(3.0),
        np.array([[True, False]]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        torch.tensor([[1, 2]], dtype=torch.int64),
        torch.nn.Parameter(torch.tensor([0.5])),
        torch.tensor([1.5, 2.5], dtype=torch.bfloat16),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_and_tensors_keep_numbers_shape_and_type(array: Any) -> None:
    body, kind = bodies.encode(array)
    read = np.load(io.BytesIO(body), allow_pickle=False)
    same = array.detach() if isinstance(array, torch.Tensor) else torch.from_numpy(array)
    assert kind == "application/x-npy"
    assert read.shape == tuple(array.shape)
    assert np.array_equal(read, same.float() if same.dtype == torch.bfloat16 else same.numpy())
    if same.dtype != torch.bfloat16:
        assert read.dtype == same.numpy().dtype


def test_a_str_is_text_and_a_path_is_its_file(tmp_path: Path) -> None:
    file = tmp_path / "said.TXT"
    file.write_bytes("é".encode())
    assert bodies.encode(str(file)) == (json.dumps(str(file)).encode(), "application/json")
    assert bodies.encode(file) == ("é".encode(), "text/plain")
    (tmp_path / "row.json").write_bytes(b"[1]")
    assert bodies.encode(tmp_path / "row.json") == (b"[1]", "application/json")
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8")
    assert bodies.encode(tmp_path / "cat.jpg") == (b"\xff\xd8", "")


@pytest.mark.parametrize("mode", bodies.MODES)
def test_an_image_loses_nothing(mode: str) -> None:
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    image = Image.fromarray(ramp).convert("RGB" if mode == "P" else "L")
    if mode == "I;16":
        image = Image.fromarray(ramp.astype(np.uint16) * 257)
    image = image if mode == "I;16" else image.convert(mode)
    body, kind = bodies.encode(image)
    read = Image.open(io.BytesIO(body))
    assert (kind, read.mode, read.size) == ("image/png", mode, image.size)
    assert read.convert("RGBA" if mode == "P" else mode).tobytes() == (
        image.convert("RGBA" if mode == "P" else mode).tobytes()
    )


def test_an_image_keeps_how_it_lies() -> None:
    image = Image.new("RGB", (4, 2))
    image.getexif()[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "JPEG", exif=image.getexif())
    body, _ = bodies.encode(Image.open(file))
    assert Image.open(io.BytesIO(body)).getexif()[0x0112] == 6


def test_all_of_these_may_be_within_json(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc")
    body, _ = bodies.encode(
        {"of": [np.float32(0.5), np.arange(2), torch.ones(1, 2)], "file": tmp_path / "a.bin",
         "bytes": b"xyz", "image": Image.new("1", (1, 1))}
    )  # fmt: skip
    said = json.loads(body)
    assert said["of"] == [0.5, [0, 1], [[1.0, 1.0]]]
    assert base64.b64decode(said["file"]["b64"]) == b"abc"
    assert base64.b64decode(said["bytes"]["b64"]) == b"xyz"
    assert Image.open(io.BytesIO(base64.b64decode(said["image"]["b64"]))).size == (1, 1)


class Own:
    """Nothing that travels."""


CYCLE: list[object] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("body", "words", "hint"),
    [
        (Own(), r"test_bodies\.Own can't be sent; it may be bytes, a pathlib\.Path", "describe"),
        ({"a": [Own()]}, r"test_bodies\.Own can't be sent", "describe"),
        ({1, 2}, r"builtins\.set can't be sent", "describe"),
        ({(1, 2): 3}, "can't be JSON: keys must be", ""),
        (CYCLE, "can't be JSON: Circular", ""),
        ([math.nan], "can't be JSON: Out of range", "None"),
        (np.array(["a"]), "an array of <U1 can't be sent", "tolist"),
        (np.array([1j]), "an array of complex128 can't be sent", "tolist"),
        (np.ma.masked_array([1, 2], [False, True]), "a masked array", "fill"),
        (torch.eye(2).to_sparse(), "a tensor can't be sent", "dense"),
        (torch.empty(2, device="meta"), "a tensor can't be sent", "dense"),
        (Image.new("CMYK", (1, 1)), "an image of mode CMYK has no PNG", "convert"),
        (Image.new("F", (1, 1)), "an image of mode F has no PNG", "convert"),
        (Image.new("RGB", (0, 3)), "an image can't be sent", ""),
        (Path("nowhere.png"), r"the input nowhere\.png can't be read: No such file", ""),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_what_cannot_be_sent_is_refused_with_what_can(body: object, words: str, hint: str) -> None:
    with pytest.raises(MarsmithError, match=words) as caught:
        bodies.encode(body)
    assert hint in caught.value.hint


@settings(max_examples=30)
@given(PLAIN.filter(lambda value: not isinstance(value, dict)))
def test_data_without_a_media_type_is_read_as_what_it_was(value: object) -> None:
    assert json.loads(bodies.of_data(value)) == {"data": value}


def test_items_are_bodies_or_pairs(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("[1]")
    array = np.arange(3)
    items = [({"a": 1}, "x"), b"raw", tmp_path / "a.txt", (array, 2)]
    assert bodies.of_items(items) == [
        (b'{"a": 1}', "x"), b"raw", b'{"data": "[1]"}', (bodies.encode(array)[0], 2),
    ]  # fmt: skip
