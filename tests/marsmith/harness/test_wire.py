"""The frontend's half of the worker protocol, against TorchServe's own half."""

from __future__ import annotations

import socket
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsmith.errors import ArchiveError
from marsmith.harness.wire import (
    FormField,
    Frame,
    Parameter,
    Request,
    Response,
    encode_load,
    encode_predict,
    read_response,
)

with warnings.catch_warnings():
    # TorchServe reads its version from a file that it does not close.
    warnings.simplefilter("ignore", ResourceWarning)
    from ts.context import Context, RequestProcessor
    from ts.protocol.otf_message_handler import (
        create_load_model_response,
        create_predict_response,
        retrieve_msg,
    )
    from ts.service import Service


text = st.text(st.characters(codec="utf-8"), max_size=20)
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
token = st.text("abcXYZ-_09", min_size=1, max_size=12)
# "text/..." and exact JSON are decoded by the worker; what it leaves alone can be compared.
opaque_type = st.sampled_from(
    ["", "image/png", "application/json; v=1", "application/octet-stream"]
)
parameters = st.lists(st.builds(Parameter, text, st.binary(max_size=60), opaque_type), max_size=3)
requests = st.builds(
    Request,
    parameters.map(tuple),
    st.dictionaries(text, text, max_size=3),
    st.uuids().map(str),
)


@contextmanager
def feeding(data: bytes, *, hang_up: bool = False) -> Iterator[socket.socket]:
    """A socket that `data` arrives at, from a writer that then waits or hangs up."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def feed() -> None:
            with suppress(ConnectionError):
                theirs.sendall(data)
                if hang_up:
                    theirs.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=feed)
        writer.start()
        try:
            yield ours
        finally:
            ours.close()
            writer.join()


def read(data: bytes, *, hang_up: bool = False, **options: Any) -> Frame:
    options = {"timeout_s": 60.0, "stall_s": 60.0, **options}
    with feeding(data, hang_up=hang_up) as sock:
        return read_response(sock, **options)


def received(command: bytes) -> tuple[bytes, Any]:
    with feeding(command) as sock:
        kind, message = retrieve_msg(sock)
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
    return kind, message


def answer(
    bodies: list[Any],
    ids: list[str] | None = None,
    statuses: dict[int, tuple[int, str]] | None = None,
    headers: dict[int, dict[str, str]] | None = None,
) -> bytes:
    """What a worker sends for a batch that went well, written by TorchServe."""
    ids = ids or [f"id-{index}" for index in range(len(bodies))]
    context = Context("name", "dir", {}, len(bodies), None, "0")
    context.request_processor = [RequestProcessor({}) for _ in bodies]
    for index, (code, phrase) in (statuses or {}).items():
        context.set_response_status(code, phrase, index)
    for index, pairs in (headers or {}).items():
        for name, value in pairs.items():
            context.set_response_header(index, name, value)
    frame = create_predict_response(bodies, dict(enumerate(ids)), "fine", 200, context)
    return bytes(frame)


@given(text, text, text, st.integers(1, 2**31 - 1), st.none() | st.integers(0, 63), text)
def test_a_worker_reads_the_load_that_was_written(
    name: str, folder: str, handler: str, batch_size: int, gpu_id: int | None, envelope: str
) -> None:
    kind, message = received(
        encode_load(
            name, folder, handler, batch_size, gpu_id, envelope, limit_max_image_pixels=False
        )
    )
    assert kind == b"L"
    assert message.get("gpu") == gpu_id
    assert (message["batchSize"], message["limitMaxImagePixels"]) == (batch_size, False)
    texts = [message[key].decode() for key in ("modelName", "modelPath", "handler", "envelope")]
    assert texts == [name, folder, handler, envelope]


@given(st.lists(requests, max_size=4))
def test_a_worker_reads_the_batch_that_was_written(batch: list[Request]) -> None:
    kind, message = received(encode_predict(batch))
    assert kind == b"I"
    assert [
        Request(
            tuple(
                Parameter(part["name"], bytes(part["value"]), part["contentType"])
                for part in row["parameters"]
            ),
            {pair["name"].decode(): pair["value"].decode() for pair in row["headers"]},
            row["requestId"].decode(),
        )
        for row in message
    ] == batch


def arrives(request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """A request's row and headers, as a handler would get them."""
    _, message = received(encode_predict([request]))
    processors, rows, _ = Service.retrieve_data_for_inference(message)
    return rows[0], processors[0].get_request_properties()


def test_a_raw_body_arrives_as_http_would_bring_it() -> None:
    row, headers = arrives(
        Request.raw("né".encode(), "text/plain; charset=utf-8", {"Accept": "*/*"})
    )
    assert row == {"body": "né"}
    assert headers == {
        "body": {"content-type": "text/plain"},
        "Accept": "*/*",
        "Content-Length": "3",
        "Content-Type": "text/plain; charset=utf-8",
        "url_path": "",
        "explain": "False",
    }


def test_a_body_without_a_type_arrives_as_bytes() -> None:
    row, headers = arrives(Request.raw(b"\xff\x00", explain=True))
    assert row == {"body": b"\xff\x00"}
    assert headers["explain"] == "True"
    assert "Content-Type" not in headers


def test_a_client_does_not_choose_what_the_frontend_sets() -> None:
    _, headers = arrives(Request.raw(b"", headers={"explain": "True", "url_path": "a/b"}))
    assert (headers["explain"], headers["url_path"]) == ("False", "")


def test_json_arrives_decoded() -> None:
    row, _ = arrives(Request.json({"instances": [1, "é"]}))
    assert row == {"body": {"instances": [1, "é"]}}


def test_a_form_arrives_field_by_field() -> None:
    fields: dict[str, FormField] = {
        "plain": "é",
        "file": b"\x00",
        "json": (b"[1]", "application/json; charset=utf-8"),
    }
    row, headers = arrives(Request.form(fields))
    assert row == {"plain": "é".encode(), "file": b"\x00", "json": [1]}
    assert headers["plain"] == {"content-type": ""}
    assert headers["file"] == {"content-type": "application/octet-stream"}
    assert headers["Content-Type"].startswith("multipart/form-data; boundary=")


def test_describe_has_no_parameters() -> None:
    assert arrives(Request.describe()) == ({}, {"describe": "True"})


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=60) | text,
            st.integers(100, 599),
            printable,
            st.dictionaries(token, printable, max_size=3),
        ),
        max_size=4,
    )
)
def test_what_a_worker_answers_is_read_back(
    rows: list[tuple[bytes | str, int, str, dict[str, str]]],
) -> None:
    frame = answer(
        [row[0] for row in rows],
        statuses={index: (row[1], row[2]) for index, row in enumerate(rows)},
        headers={index: row[3] for index, row in enumerate(rows)},
    )
    batch = read(frame)
    assert (batch.code, batch.message) == (200, "fine")
    assert list(batch.responses) == [f"id-{index}" for index in range(len(rows))]
    for (body, status, reason, headers), response in zip(
        rows, batch.responses.values(), strict=True
    ):
        data = body.encode() if isinstance(body, str) else body
        assert response == Response(status, reason, "", headers, data)


def test_a_content_type_and_json_are_read() -> None:
    frame = answer([{"a": 1}], headers={0: {"content-type": "application/json"}})
    (response,) = read(frame).responses.values()
    assert response.content_type == "application/json"
    assert response.json() == {"a": 1}


def test_a_reply_to_a_load_is_read() -> None:
    assert read(bytes(create_load_model_response(507, "é"))) == Frame(507, "é", {})


@given(st.data())
def test_a_truncated_frame_neither_hangs_nor_passes(data: st.DataObject) -> None:
    frame = answer(["one", b"two"], statuses={0: (404, "gone")}, headers={1: {"a": "b"}})
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    with pytest.raises(EOFError):
        read(cut, hang_up=True)


def test_a_frame_that_stops_is_refused_and_silence_is_a_timeout() -> None:
    with pytest.raises(ArchiveError, match="before its end"):
        read(answer(["body"])[:-5], stall_s=0.05)
    with pytest.raises(TimeoutError):
        read(b"", timeout_s=0.01)


@given(st.text(st.characters(min_codepoint=0x80, codec="utf-8"), min_size=1), st.booleans())
def test_characters_counted_as_bytes_are_noticed(odd: str, in_phrase: bool) -> None:
    if in_phrase:
        frame = answer(["body", "next"], statuses={0: (400, f"bad {odd} thing")})
    else:
        frame = answer(["body", "next"], headers={0: {"content-type": f"text/{odd}"}})
    with pytest.raises(ArchiveError):
        read(frame, stall_s=0.05)  # what is counted too short may look like a frame that stops


@given(st.binary(min_size=1, max_size=8), st.data())
def test_bytes_too_many_are_noticed(extra: bytes, data: st.DataObject) -> None:
    # Inside a body extra bytes shift what follows; after the frame they are what follows.
    frame = answer([b"", b"two"])
    position = data.draw(st.sampled_from([frame.index(b"two"), len(frame) - 4, len(frame)]))
    shifted = frame[:position] + extra + frame[position:]
    with pytest.raises((ArchiveError, EOFError)):
        read(shifted, hang_up=True)


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack("!i", -7),
        struct.pack("!ii", 200, -2),
        struct.pack("!iii", 200, 0, -3),
        struct.pack("!iii", 200, 0, 2**31 - 1),
        answer(["x"], statuses={0: (20, "")}),
        answer(["x"], statuses={0: (400, "two\nlines")}),
        answer(["x"], headers={0: {"Not a name": "x"}}),
        answer(["x"], headers={0: {"a": "b\r\nSet-Cookie: c"}}),
        answer(["x"], headers={0: {f"h{number}": "" for number in range(1001)}}),
    ],
)
def test_what_the_frontend_could_not_pass_on_is_refused(frame: bytes) -> None:
    with pytest.raises(ArchiveError):
        read(frame)


def test_a_body_may_be_as_long_as_the_frontend_takes() -> None:
    assert len(read(answer([bytes(6_553_500)])).responses["id-0"].body) == 6_553_500
    with pytest.raises(ArchiveError, match="body has a length of 6553501"):
        read(answer([bytes(6_553_501)]))


def test_the_socket_keeps_its_timeout() -> None:
    with feeding(answer(["x"])) as sock:
        sock.settimeout(12.0)
        read_response(sock, timeout_s=60.0)
        assert sock.gettimeout() == 12.0


def test_part_of_a_stream_may_be_followed_by_more() -> None:
    first = answer(["one"], headers={0: {"ts_stream_next": "true"}})
    # TorchServe turns the header's "true" into "false" unless told that this is a stream.
    first = first.replace(struct.pack("!i", 5) + b"false", struct.pack("!i", 4) + b"true")
    with feeding(first + answer(["two"])) as sock:
        batch = read_response(sock, timeout_s=60.0, stall_s=60.0)
        assert batch.more_follows
        assert not read_response(sock, timeout_s=60.0, stall_s=60.0).more_follows


def test_a_batch_that_failed_gives_every_client_the_frontends_error() -> None:
    asked = [Request(request_id="id-0"), Request(request_id="id-1")]
    ids = {index: request.request_id for index, request in enumerate(asked)}
    frame = bytes(create_predict_response(None, ids, "Prediction <failed>", 503))
    first, second = read(frame).answers(asked)
    assert first == second
    assert (first.status, first.reason) == (503, "Service Unavailable")
    assert first.content_type == "application/json"
    assert first.body == (
        b'{\n  "code": 503,\n  "type": "InternalServerException",\n'
        b'  "message": "Prediction <failed>"\n}\n'
    )
    assert Frame(413, "", {}).answers(asked)[0].status == 507


def test_answers_come_in_the_order_of_the_requests_and_to_all_of_them() -> None:
    asked = [Request(request_id="id-1"), Request(request_id="id-0")]
    batch = read(answer(["zero", "one"]))
    assert [response.body for response in batch.answers(asked)] == [b"one", b"zero"]
    with pytest.raises(ArchiveError, match="id-9"):
        batch.answers([*asked, Request(request_id="id-9")])


def test_requests_get_ids_of_their_own() -> None:
    assert Request.json(1).request_id != Request.json(1).request_id
