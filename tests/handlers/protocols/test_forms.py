"""Forms that come as bytes."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.errors import BadRequest
from handlers.protocols import forms
from handlers.protocols.exchange import Exchange

# Clients differ in what they make of a backslash.
LETTERS = st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\\")
NAMES = st.text(LETTERS, min_size=1, max_size=20)
BOUNDARY = "multipart/form-data; boundary=x"


def sent(**request: object) -> tuple[bytes, str]:
    """A form as a client sends it: its body and its media type."""
    made = httpx.Request("POST", "http://host/", **request)  # type: ignore[arg-type]
    return made.read(), made.headers["Content-Type"]


@given(st.dictionaries(NAMES, st.binary(max_size=200), min_size=1, max_size=5))
def test_files_come_as_they_were_sent(files: dict[str, bytes]) -> None:
    as_sent = {name: ("file", content, "image/png") for name, content in files.items()}
    fields, kinds = forms.read(*sent(files=as_sent))
    assert fields == {name.replace('"', "%22"): value for name, value in files.items()}
    assert set(kinds.values()) == {"image/png"}


@given(st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["Cs"]), max_size=50)))
def test_fields_come_as_they_were_sent(data: dict[str, str]) -> None:
    fields, kinds = forms.read(*sent(data=data)) if data else forms.read(b"", forms.URLENCODED)
    assert fields == {name: value.encode() for name, value in data.items()}
    assert kinds == {}


def test_a_form_has_files_and_fields() -> None:
    body, kind = sent(data={"top_k": "3"}, files={"data": ("a.png", b"\r\n--x\r\n\n", "image/png")})
    fields, kinds = forms.read(bytearray(body), kind)
    assert fields == {"data": b"\r\n--x\r\n\n", "top_k": b"3"}
    assert kinds == {"data": "image/png"}


def test_a_name_may_come_after_a_file_name() -> None:
    head = 'Content-Disposition: form-data; filename="a; name=b"; name="x"'
    assert forms.read(f"--x\r\n{head}\r\n\r\n1\r\n--x--".encode(), BOUNDARY) == ({"x": b"1"}, {})


def test_a_field_in_any_script() -> None:
    assert forms.read("text=Grüße".encode(), forms.URLENCODED) == ({"text": "Grüße".encode()}, {})


def part(name: str = "a", value: str = "1") -> str:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("", BOUNDARY, "doesn't begin with its boundary"),
        ("hello", BOUNDARY, "doesn't begin with its boundary"),
        ("--x\r\nbroken", BOUNDARY, "breaks off"),
        (part(), BOUNDARY, "breaks off"),
        (part() + "--x", BOUNDARY, "breaks off"),
        ("--x\r\n\r\n\r\n--x--", BOUNDARY, "no headers"),
        ("--x\r\nX: 1\r\n\r\n\r\n--x--", BOUNDARY, "has no name"),
        ("--x\r\nnonsense\r\n\r\n\r\n--x--", BOUNDARY, "can't be read"),
        (f"--x\r\nX: {'1' * 5000}\r\n\r\n\r\n--x--", BOUNDARY, "too long"),
        (part() + part() + "--x--", BOUNDARY, "two fields named 'a'"),
        ("".join(part(f"a{i}") for i in range(1001)) + "--x--", BOUNDARY, "more than 1000"),
        (part() + "--x--", "multipart/form-data", "can't be read"),
        (part() + "--x--", "multipart/mixed; boundary=x", "can't be read"),
        ('{"text": "hi"}', forms.URLENCODED, "JSON, sent as a form"),
        ("a=1&a=2", forms.URLENCODED, "two fields named 'a'"),
        ("a=1&b", forms.URLENCODED, "can't be read"),
        ("&".join(f"a{i}=1" for i in range(1001)), forms.URLENCODED, "more than 1000"),
    ],
)
def test_what_is_no_form_is_refused(body: str, kind: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        forms.read(body.encode(), kind)


@given(st.binary(max_size=300), st.sampled_from([BOUNDARY, forms.URLENCODED, "", "x; boundary=x"]))
def test_whatever_comes_is_read_or_refused(body: bytes, kind: str) -> None:
    try:
        forms.read(b"--x\r\n" + body, kind)
    except BadRequest:
        return


def test_a_row_says_that_its_body_is_a_form() -> None:
    body, kind = sent(files={"data": ("a.png", b"image", "image/png")})
    exchange = Exchange.begin({"body": bytearray(body)}, {"X-Form-Type": kind})
    assert exchange.form == kind
