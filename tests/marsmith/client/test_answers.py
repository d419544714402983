"""Answers of two versions: alike or not, and in which words."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsmith.client.answers import JSON_LENGTH, MirroredAnswer, differ


def answer(said: object, status: int = 200) -> MirroredAnswer:
    return MirroredAnswer(status, httpx.Headers(), json.dumps(said).encode())


def binary(numbers: list[float]) -> MirroredAnswer:
    """Tensors of the Open Inference Protocol, in binary."""
    data = np.array(numbers, np.float32).tobytes()
    output = {
        "name": "y", "datatype": "FP32", "shape": [len(numbers)],
        "parameters": {"binary_data_size": len(data)},
    }  # fmt: skip
    head = json.dumps({"model_version": str(numbers), "outputs": [output]}).encode()
    headers = httpx.Headers({JSON_LENGTH: str(len(head))})
    return MirroredAnswer(200, headers, head + data)


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (answer({"a": 1.0}), answer({"a": 1.05}), ""),
        (answer({"a": 1.0}), answer({"a": 1.2}), "numbers by"),
        (answer({"a": 2000.0}), answer({"a": 2100.0}), ""),
        (answer({"label": "cat"}), answer({"label": "dog"}), "more than in numbers"),
        (answer({"model_version": "1", "a": 0}), answer({"model_version": "2", "a": 0}), ""),
        (answer({}, 400), answer({"other": "words"}, 400), ""),
        (answer({}, 503), answer({}, 200), "status 503 instead of 200"),
        (binary([1.0, 2.0]), binary([1.0, 2.05]), ""),
        (binary([1.0, 2.0]), binary([1.0, 3.0]), "numbers by 0.333"),
        (binary([1.0, 2.0]), binary([1.0]), "more than in numbers"),
        (
            MirroredAnswer(200, httpx.Headers(), b"\x00"),
            MirroredAnswer(200, httpx.Headers(), b"\x01"),
            "more",
        ),
    ],
)
def test_how_answers_differ(one: MirroredAnswer, other: MirroredAnswer, words: str) -> None:
    found = differ(one, other, 0.1)
    assert found.startswith(words)
    assert bool(found) == bool(words)


TENSORS = st.fixed_dictionaries(
    {
        "outputs": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": st.just("y"),
                    "datatype": st.sampled_from(["FP32", "BYTES", "none", 1]),
                    "shape": st.lists(st.integers(-1, 3)) | st.text(),
                    "parameters": st.none()
                    | st.fixed_dictionaries({"binary_data_size": st.integers()}),
                },
            )
            | st.integers()
        )
    }
).map(lambda said: json.dumps(said).encode())


@given(st.binary() | TENSORS, st.binary() | TENSORS, st.integers(-1, 200).map(str) | st.just("x"))
def test_answers_of_any_kind_can_be_compared(one: bytes, other: bytes, length: str) -> None:
    headers = httpx.Headers({JSON_LENGTH: length})
    assert differ(MirroredAnswer(200, headers, one), MirroredAnswer(200, headers, one), 0.0) == ""
    differ(MirroredAnswer(200, headers, one), MirroredAnswer(200, headers, other), 0.0)
