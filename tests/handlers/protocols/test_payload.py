"""Requests as rows, answers as bytes: three protocols, and whatever else a client sends."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handlers.errors import BadRequest, HandlerError, ModelError
from handlers.protocols import binary_tensors
from handlers.protocols.base64_text import from_base64
from handlers.protocols.json_text import dump
from handlers.protocols.parsed_request import ParsedRequest
from handlers.protocols.payload import read
from handlers.protocols.writing import write
from handlers.task import Answer
from tests.support.answers import plain

T = TypeVar("T")
JSON = {"body": "application/json"}
OPTIONS = ["top_k", "mode"]

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=4), inner)
    ),
    max_leaves=12,
)
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b", "\ud800"]) | PLAIN,
        "shape": st.lists(st.integers(-1, 3) | st.just(10**30), max_size=70) | PLAIN,
        "datatype": st.sampled_from(["FP32", "FP16", "BYTES", "UINT8", "BOOL", "INT64", "X"]),
        "data": st.lists(st.integers() | st.floats(), max_size=6) | PLAIN,
    },
)
BODIES = (
    PLAIN
    | st.fixed_dictionaries(
        {},
        optional={
            "instances": st.lists(PLAIN, max_size=3) | PLAIN,
            "inputs": st.lists(TENSORS, max_size=3) | PLAIN,
            "data": PLAIN | st.fixed_dictionaries({"b64": PLAIN}),
            "parameters": PLAIN,
            "id": PLAIN,
        },
    )
    | st.binary()
    | st.binary().map(bytearray)
    | st.builds(lambda body: json.dumps(body).encode(), PLAIN)
)
ROWS = st.dictionaries(st.sampled_from(["body", "data", "file", "top_k"]), BODIES, max_size=3)
MEDIA = st.sampled_from(["", "application/json", "application/vnd.x+json; v=1", "image/png"])


def tensor(name: str = "x", **changes: Any) -> dict[str, Any]:
    return {"name": name, "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4], **changes}


def outcome(function: Callable[..., T], *arguments: Any, **named: Any) -> T | HandlerError:
    try:
        return function(*arguments, **named)
    except HandlerError as error:
        return error


def refused(body: Any, content_types: dict[str, str] | None = None) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read({"body": body}, JSON if content_types is None else content_types, OPTIONS)
    return caught.value


@given(ROWS, MEDIA)
@example({"body": {"inputs": [tensor(shape=[1] * 65, data=[1])]}}, "")
@example({"body": {"inputs": [tensor(shape=[0, 10**30], data=[])]}}, "")
@example({"body": {"inputs": [tensor(shape=[2**62, 4], data=[])]}}, "")
@example({"body": {"inputs": []}}, "")
@example({"body": b"[" * 100_000}, "application/json")
@example({"body": b"1" * 5000}, "application/json")
@example({"body": b"\xff{"}, "application/json")
def test_any_row_is_a_request_or_a_bad_request(row: dict[str, Any], media: str) -> None:
    request = outcome(read, row, dict.fromkeys(row, media), OPTIONS)
    if isinstance(request, HandlerError):
        assert isinstance(request, BadRequest)
        assert 400 <= request.status < 500
        assert len(request.message) < 1500
        assert request.message.isascii()
        return
    assert request.protocol in ("raw", "v1", "v2")
    assert len(request.instances) >= 1
    assert request.protocol != "raw" or len(request.instances) == 1
    assert not any(isinstance(value, bytearray) for value in request.instances)


@given(st.binary(min_size=1).filter(lambda body: not body.startswith(b"{")))
def test_a_raw_body_is_the_instance(body: bytes) -> None:
    assert read({"body": bytearray(body)}, {}, OPTIONS).instances == [body]
    assert read({"anything": body}, {}, OPTIONS).instances == [body]


@given(st.binary(min_size=1))
def test_a_typed_body_is_never_taken_for_json(body: bytes) -> None:
    request = read({"body": body}, {"body": "image/png"}, OPTIONS)
    assert request == ParsedRequest("raw", [body], {}, textual=True)


@pytest.mark.parametrize("spelling", ["application/json", "application/JSON; charset=utf-8", ""])
def test_json_that_torchserve_left_alone_is_parsed(spelling: str) -> None:
    request = read({"body": b'{"instances": [1, 2]}'}, {"body": spelling}, OPTIONS)
    assert (request.protocol, request.instances) == ("v1", [1, 2])


def test_the_other_fields_of_a_form_are_options() -> None:
    request = read({"file": b"png", "top_k": b"3", "mode": "\xe9"}, {}, OPTIONS)
    assert request == ParsedRequest("raw", [b"png"], {"top_k": "3", "mode": "\xe9"}, textual=True)


def test_the_parts_of_an_instance_may_be_fields_of_a_form() -> None:
    row, parts = {"text": bytearray(b"a"), "text_pair": "b", "top_k": b"3"}, ("text", "text_pair")
    request = read(row, {}, OPTIONS, parts=parts)
    assert request.instances == [{"text": b"a", "text_pair": "b"}]
    assert (request.options, request.textual) == ({"top_k": "3"}, True)
    assert read({"text": b"{}"}, {}, OPTIONS, parts=parts).instances == [{"text": b"{}"}]
    with pytest.raises(BadRequest, match="it is unclear which field"):
        read({"text": b"a", "other": b"b"}, {}, OPTIONS, parts=parts)
    assert read({"data": b"a", "text": b"b"}, {}, OPTIONS, parts=parts).instances == [b"a"]


def test_a_form_with_two_files_is_ambiguous() -> None:
    with pytest.raises(BadRequest, match=r"it is unclear which field is the instance: 'a', 'b'"):
        read({"a": b"1", "b": b"2", "top_k": b"3"}, {}, OPTIONS)


@pytest.mark.parametrize("row", [{}, {"top_k": b"3"}, {"body": b""}, {"body": ""}])
def test_no_instance_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"no instance|empty") as caught:
        read(row, {}, OPTIONS)
    assert caught.value.hint


def test_json_sent_as_a_urlencoded_form_is_told_how() -> None:
    # What `curl -d '{"instances": [1]}'` becomes: a form whose one field has the JSON as its name.
    with pytest.raises(BadRequest) as caught:
        read({'{"instances": [1]}': b""}, {}, OPTIONS)
    assert "Content-Type: application/json" in caught.value.hint


@pytest.mark.parametrize(
    ("body", "instance"),
    [
        ({"data": "aGk="}, "aGk="),
        ({"body": [1, 2]}, [1, 2]),
        ({"data": {"b64": "aGk="}}, b"hi"),
        ({"b64": "aGk="}, b"hi"),
        ({"text": "a", "pair": "b"}, {"text": "a", "pair": "b"}),
        ([1, 2], [1, 2]),
        (None, None),
    ],
)
def test_json_without_a_protocol_is_one_instance(body: Any, instance: Any) -> None:
    request = read({"body": body}, JSON, OPTIONS)
    assert (request.protocol, request.instances) == ("raw", [instance])


def test_v1_unwraps_base64_and_keeps_parameters() -> None:
    body = {"instances": [{"b64": "aGk="}, "text", [1]], "parameters": {"top_k": 2}}
    request = read({"body": body}, JSON, OPTIONS)
    assert request == ParsedRequest("v1", [b"hi", "text", [1]], {"top_k": 2})


def test_v2_splits_one_input_into_its_rows() -> None:
    request = read({"body": {"inputs": [tensor()], "id": "\ud800"}}, JSON, OPTIONS)
    assert (request.protocol, request.identity) == ("v2", "\ud800")
    rows = [row for row in request.instances if isinstance(row, np.ndarray)]
    assert [row.tolist() for row in rows] == [[1, 2], [3, 4]]
    assert rows[0].dtype == np.float32


def test_v2_joins_several_inputs_row_by_row() -> None:
    body = {"inputs": [tensor("a"), tensor("b", datatype="INT64")]}
    instances: Sequence[Any] = read({"body": body}, JSON, OPTIONS).instances
    first, second = instances
    assert first["a"].tolist() == [1, 2]
    assert second["b"].tolist() == [3, 4]


def test_v2_takes_nested_data_as_well_as_flat() -> None:
    body = {"inputs": [tensor(data=[[1, 2], [3, 4]])]}
    assert len(read({"body": body}, JSON, OPTIONS).instances) == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"instances": []}, "'instances' is empty"),
        ({"instances": {}}, "'instances' must be a list"),
        ({"instances": [1], "parameters": [2]}, "'parameters' must be an object, not a list"),
        ({"instances": [{"b64": 3}]}, "base64 must be a string, not an integer"),
        ({"instances": [{"b64": "%"}]}, "the string is not base64"),
        ({}, "no instance"),
        ({"parameters": {}}, "no instance"),
        ({"inputs": []}, "'inputs' is empty"),
        ({"inputs": [3]}, "every input must be an object"),
        ({"inputs": [{"name": 3}]}, "every input must be an object"),
        ({"inputs": [tensor(), tensor()]}, "two inputs are named 'x'"),
        ({"inputs": [tensor("a"), tensor("b", shape=[4])]}, "must share a first dimension"),
        ({"inputs": [tensor()], "id": 3}, "'id' must be a string, not an integer"),
        ({"inputs": [tensor(shape=None)]}, "'shape' must be a list"),
        ({"inputs": [tensor(shape=[])]}, "'shape' must be a list"),
        ({"inputs": [tensor(shape=[-2, -2])]}, "'shape' must be a list"),
        ({"inputs": [tensor(shape=[True, 4])]}, "'shape' must be a list"),
        ({"inputs": [tensor(shape=[0], data=[])]}, "'shape' must be a list"),
        ({"inputs": [tensor(shape=[2, 3])]}, "'data' has 4 numbers, not as many as its shape"),
        ({"inputs": [tensor(shape=[2**30, 2**30, 4])]}, "not as many as its shape"),
        ({"inputs": [tensor(datatype="STRING")]}, "'datatype' must be one of BOOL"),
        ({"inputs": [tensor(datatype=["FP32"])]}, "'datatype' must be one of BOOL"),
        ({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32"}]}, "no 'data'"),
        ({"inputs": [tensor(data="1234")]}, "must be a list of numbers, not a string"),
        ({"inputs": [tensor(data=[1, 2, 3, "4"])]}, "something in it that is not a number"),
        ({"inputs": [tensor(data=[1, 2, 3, None])]}, "something in it that is not a number"),
        ({"inputs": [tensor(data=[1, 2, [3, 4]])]}, "ragged"),
        ({"inputs": [tensor(datatype="UINT8", data=[0, 1, 2, 256])]}, "that UINT8 can't hold"),
        ({"inputs": [tensor(datatype="UINT8", data=[0, 1, 2, -1])]}, "that UINT8 can't hold"),
        ({"inputs": [tensor(datatype="UINT8", data=[0, 1, 2, 0.5])]}, "that UINT8 can't hold"),
        ({"inputs": [tensor(datatype="INT64", data=[0, 1, 2, math.nan])]}, "INT64 can't hold"),
        ({"inputs": [tensor(datatype="INT64", data=[0, 1, 2, 2**63])]}, "INT64 can't hold"),
        ({"inputs": [tensor(datatype="BOOL", data=[0, 1, 1, 2])]}, "that BOOL can't hold"),
        ({"inputs": [tensor(datatype="BYTES")]}, "BYTES must be a flat list of shape[0] strings"),
        (
            {"inputs": [tensor(datatype="BYTES", shape=[2], data=["a", 5])]},
            "BYTES must be a flat list of shape[0] strings",
        ),
    ],
)
def test_a_bad_body_is_told_what_is_wrong(body: Any, words: str) -> None:
    assert words in refused(body).message


def test_deep_and_long_winded_json_is_refused_as_such() -> None:
    assert "nested too deep" in refused(b"[" * 100_000).message
    assert "a whole number in it has more than" in refused(b"1" * 5000).message
    assert "not valid JSON" in refused(b"{\xff}").message


def test_a_shape_of_many_huge_numbers_is_refused_at_once() -> None:
    # Their product has millions of digits: multiplying them out took minutes.
    shape = [10**4000 + 7] * 1500
    assert "'shape' must be" in refused({"inputs": [tensor(shape=shape)]}).message


def test_a_million_instances_are_read() -> None:
    assert len(read({"body": {"instances": [0] * 1_000_000}}, JSON, OPTIONS).instances) == 1_000_000


@given(st.binary(min_size=1), st.booleans(), st.booleans(), st.booleans())
def test_base64_in_all_its_dresses(data: bytes, padded: bool, prefix: bool, wrapped: bool) -> None:
    text = (base64.encodebytes if wrapped else base64.b64encode)(data).decode()
    text = text if padded else text.replace("=", "")
    assert from_base64("data:image/png;base64," + text if prefix else text) == data


@given(st.text(st.characters()))
def test_any_text_is_base64_or_a_bad_request(text: str) -> None:
    data = outcome(from_base64, text)
    assert data
    assert isinstance(data, (bytes, BadRequest))


@dataclass(frozen=True)
class Found(Answer):
    labels: list[str]
    scores: list[float]
    count: int
    extra: Any = None


FOUND = st.builds(
    Found,
    st.lists(st.text(st.characters()), max_size=3),
    st.lists(st.floats(0, 1), max_size=3),
    st.integers(),
    PLAIN,
)


@given(
    st.sampled_from(["raw", "v1", "v2"]),
    st.lists(FOUND, min_size=1, max_size=4),
    st.none() | st.text(st.characters()),
)
def test_what_is_written_is_ascii_json(protocol: Any, answers: list[Found], identity: Any) -> None:
    instances = answers[:1] if protocol == "raw" else answers
    request = ParsedRequest(protocol, instances, identity=identity)
    written = outcome(write, request, answers, model_name="digits", model_version="1.0")
    if isinstance(written, HandlerError):
        assert written.message == "the model's answer is not finite"
        return
    body = written.body
    assert body.isascii()
    said = json.loads(body, parse_constant=pytest.fail)
    if protocol == "raw":
        assert said == answers[0].to_json()
    elif protocol == "v1":
        assert said["predictions"] == [answer.to_json() for answer in answers]
    else:
        assert said.get("id") == identity
        for output in said["outputs"]:
            assert output["shape"][0] == len(answers)
            assert math.prod(output["shape"]) == len(output["data"])


@pytest.mark.parametrize("protocol", ["raw", "v1", "v2"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_an_answer_that_is_not_finite_is_the_models_fault(protocol: Any, number: float) -> None:
    request = ParsedRequest(protocol, [b""])
    for answer in (Found(["a"], [number], 1), Found(["a"], [0.5], 1, {"deep": [number]})):
        with pytest.raises(ModelError, match="not finite"):
            write(request, [answer], model_name="m", model_version="1")


def test_v2_columns_are_rectangles_or_bytes_of_json() -> None:
    answers = [Found(["a"], [0.75], 1), Found(["b", "c"], [0.5, 0.25], 2)]
    request = ParsedRequest("v2", [1, 2])
    said = json.loads(write(request, answers, model_name="m", model_version="1").body)
    labels, scores, count, _ = said["outputs"]
    assert (said["model_name"], said["model_version"]) == ("m", "1")
    assert labels == {
        "name": "labels",
        "datatype": "BYTES",
        "shape": [2],
        "data": ['["a"]', '["b", "c"]'],
    }
    assert scores["data"] == ["[0.75]", "[0.5, 0.25]"]
    assert count == {"name": "count", "datatype": "INT64", "shape": [2], "data": [1, 2]}


def test_a_lone_surrogate_goes_out_escaped() -> None:
    assert dump({"error": "\ud800"}) == b'{"error":"\\ud800"}'


def test_the_schema_describes_the_fields() -> None:
    schema = plain(Found.schema())
    assert schema["properties"]["scores"] == {"type": "array", "items": {"type": "number"}}
    assert schema["required"] == ["labels", "scores", "count", "extra"]


def test_tritons_wish_for_binary_outputs_is_no_option() -> None:
    parameters = {"binary_data_output": True, "top_k": 3}
    request = read({"body": {"inputs": [tensor()], "parameters": parameters}}, JSON, OPTIONS)
    assert (request.options, request.binary) == ({"top_k": 3}, True)


def test_outputs_come_as_bytes_behind_the_json() -> None:
    answers = [Found(["a"], [0.75], 1), Found(["bé"], [0.5], 2)]
    written = write(
        ParsedRequest("v2", [1, 2], outputs={"count": False, "scores": True, "labels": True}),
        answers,
        model_name="m",
        model_version="1",
    )
    assert written.json_length is not None
    count, scores, labels = json.loads(written.body[: written.json_length])["outputs"]
    assert count["data"] == [1, 2]
    assert (scores["shape"], scores["datatype"]) == ([2, 1], "FP32")
    behind = written.body[written.json_length :]
    size = scores["parameters"]["binary_data_size"]
    assert np.frombuffer(behind[:size], "<f4").tolist() == [0.75, 0.5]
    assert labels["shape"] == [2, 1]
    assert binary_tensors.strings(behind[size:], "labels") == [b"a", "bé".encode()]


@pytest.mark.parametrize("outputs", [{}, [1], [{}], [{"name": "x", "parameters": 1}]])
def test_outputs_that_cannot_be_read_are_refused(outputs: Any) -> None:
    with pytest.raises(BadRequest):
        read({"body": {"inputs": [tensor()], "outputs": outputs}}, JSON, OPTIONS)


def test_an_output_that_there_is_not_is_refused_with_the_nearest() -> None:
    request = ParsedRequest("v2", [1], outputs={"score": False})
    with pytest.raises(BadRequest, match="did you mean 'scores'"):
        write(request, [Found(["a"], [0.5], 1)], model_name="m", model_version="1")


@pytest.mark.parametrize("body", [b'{"history": ["a"]}', b'{"instances": [["a"]]}'])
def test_options_beside_json_in_a_form_count(body: bytes) -> None:
    request = read({"data": body, "top_k": b"2"}, {}, ["top_k"])
    assert (dict(request.options), request.textual) == ({"top_k": "2"}, True)


@pytest.mark.parametrize("name", ["inputs", "outputs"])
def test_inputs_and_outputs_are_bounded_by_number(name: str) -> None:
    body = {"inputs": [tensor()], name: [tensor(str(number)) for number in range(1001)]}
    error = refused(body)
    assert (error.status, "max_inputs" in error.hint) == (413, True)
    assert "1001" in error.message
    assert "at most 1000" in error.message
