"""One row, from request to answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from handlers.errors import BadRequest, ModelError
from handlers.protocols.exchange import Exchange
from handlers.runtimes import Tensors
from handlers.task import Answer, Config, NoOptions, Sample, Task

MEDIA = {"body": "application/json"}


@dataclass(frozen=True)
class Words(Answer):
    words: str = "w"


class Echo(Task[Config, NoOptions, None]):
    """Takes what comes, at most four at once."""

    Answer = Words

    def decode(self, instance: object, options: NoOptions) -> Sample[NoOptions, None]:
        return Sample({}, options, None)

    def answer(self, outputs: Tensors, samples: Sequence[Sample[NoOptions, None]]) -> list[Words]:
        return [Words() for _ in samples]

    def example(self) -> tuple[str, bytes]:
        return "text/plain", b"x"

    def describe_input(self) -> dict[str, Any]:
        return {}


ECHO = Echo()
ECHO.configure({"max_instances": 4}, Path())


def exchange(count: int = 2) -> Exchange:
    made = Exchange({"body": {"instances": [b"x"] * count}}, MEDIA)
    made.read(ECHO)
    return made


def test_a_row_is_read_run_and_answered() -> None:
    one = exchange()
    assert one.open
    assert list(one.instances) == [b"x", b"x"]
    one.samples = one.take([Sample({}, None, None), Sample({}, None, None)])
    one.answers = one.take([Words("a"), Words("b")])
    one.finish("m", "1", 1000)
    assert not one.open
    assert one.status == 200
    assert json.loads(one.body or b"") == {"predictions": [{"words": "a"}, {"words": "b"}]}


def test_more_instances_than_allowed_are_refused() -> None:
    with pytest.raises(BadRequest, match="5 instances in one request; at most 4") as caught:
        exchange(5)
    assert caught.value.status == 413


def test_one_bad_instance_fails_its_row_and_is_named() -> None:
    one = exchange()
    assert one.take([Sample({}, None, None), BadRequest("no", hint="yes", status=422)]) == []
    assert (one.open, one.status, one.instances) == (False, 422, ())
    assert json.loads(one.body or b"") == {"error": "instance 1: no", "hint": "yes"}


def test_the_only_instance_needs_no_name() -> None:
    one = exchange(1)
    one.take([BadRequest("no")])
    assert json.loads(one.body or b"") == {"error": "no", "hint": ""}


def test_an_answer_of_the_limit_is_sent_and_a_longer_one_refused() -> None:
    one = exchange(1)
    one.answers = [Words()]
    size = len(b'{"predictions":[{"words":"w"}]}')
    one.finish("m", "1", size)
    assert one.status == 200
    with pytest.raises(BadRequest, match=f"the answer has {size} bytes") as caught:
        one.finish("m", "1", size - 1)
    assert caught.value.status == 413


def test_a_bug_says_nothing_of_itself() -> None:
    one = exchange()
    one.fail(KeyError("s3cret"))
    assert one.status == 500
    assert b"s3cret" not in (one.body or b"")


def test_what_was_never_read_cannot_be_written() -> None:
    with pytest.raises(ModelError):
        Exchange({}).finish("m", "1", 1000)


def test_an_error_in_any_words_is_ascii() -> None:
    one = exchange()
    one.fail(BadRequest("\ud800 größer", hint="\x00"))
    assert (one.body or b"").isascii()
    assert json.loads(one.body or b"")["error"] == "\ud800 größer"


@dataclass(frozen=True)
class Picture(Answer):
    value: int
    media_types: ClassVar[tuple[str, ...]] = ("image/png",)

    def encode(self, media_type: str) -> bytes:
        return b"\x89PNG" * self.value


def test_one_answer_may_be_a_picture_where_the_client_accepts_one() -> None:
    for accept, body in (("image/png", b"\x89PNG" * 2), ("*/*", b'{"value":2}')):
        one = Exchange({"body": b"x"}, accept=accept)
        one.read(ECHO)
        one.answers = [Picture(2)]
        one.finish("m", "1", 1000)
        assert one.body == body


def test_several_answers_are_json_and_a_large_picture_is_refused() -> None:
    several = exchange()
    several.accept, several.answers = "image/png", [Picture(1), Picture(2)]
    several.finish("m", "1", 1000)
    assert several.media_type == "application/json"
    large = Exchange({"body": b"x"}, accept="image/png")
    large.read(ECHO)
    large.answers = [Picture(300)]
    with pytest.raises(BadRequest, match="1200 bytes"):
        large.finish("m", "1", 1000)
    assert large.media_type == "application/json"
