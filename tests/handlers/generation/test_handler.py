"""A worker that writes: turns, what ends an answer, and what is said when something fails."""

from __future__ import annotations

import itertools
import json
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ts.context import Context
from ts.protocol import otf_message_handler as codec
from ts.service import Service

from handlers import tracing
from handlers.generation import handler as generation
from handlers.generation.decoding import TokenSequence
from handlers.runtimes import Tensors
from handlers.tasks.text_generation import TextGeneration
from handlers.telemetry import Telemetry
from marsmith.harness.wire import Request, Response, encode_predict, read_response
from tests.support.collector import collecting
from tests.support.language_model import SHAPE, row, runtime, tokenizer
from tests.support.metrics_lines import reported
from tests.support.waiting import wait_until

SETTINGS: dict[str, Any] = {
    "layers": SHAPE.layers,
    "key_value_heads": SHAPE.heads,
    "head_size": SHAPE.size,
}
SETTINGS |= {"max_tokens": 256, "task": "text_generation"}
EVENTS = "text/event-stream"


def ask(text: str, *, accept: str = "", **options: Any) -> Request:
    return Request.json({"data": text, "parameters": options}, {"Accept": accept} if accept else {})


class Worker:
    """A handler, spoken to as TorchServe speaks to its worker.

    Args:
        folder: has a tokenizer.json.
        joins: it serves continuously.
        slots: texts at once.
        run: the model.
        kind: of the handler.
        seconds: that TorchServe waits for an answer.
    """

    def __init__(
        self,
        folder: Path,
        *,
        joins: bool,
        slots: int = 2,
        run: Callable[[Tensors], Tensors] | None = None,
        kind: type[TextGeneration] = TextGeneration,
        seconds: float = 80.0,
    ) -> None:
        self.handler = type(kind.__name__, (kind,), {"joins": joins})()
        self.handler.configure(SETTINGS, folder)
        self.handler.use(run or runtime(), batch_size=slots, seconds=seconds)
        self.context = Context("writer", str(folder), {}, slots, None, "1")
        self.frontend, self.context.cl_socket = socket.socketpair()

    def part(self, requests: Sequence[Request]) -> list[Mapping[str, Response]]:
        """What is answered to one command: messages, each with parts by request."""
        self.frontend.sendall(encode_predict(requests))
        _, message = codec.retrieve_msg(self.context.cl_socket)
        processors, rows, ids = Service.retrieve_data_for_inference(message)
        self.context.request_ids, self.context.request_processor = ids, processors
        bodies = self.handler.handle(rows, self.context)
        self.context.cl_socket.sendall(
            codec.create_predict_response(bodies, ids, "Prediction success", 200, self.context)
        )
        messages = []
        while select.select([self.frontend], [], [], 0)[0]:
            messages.append(read_response(self.frontend, timeout_s=60).responses)
        return messages

    def answers(self, *requests: Request) -> list[list[Response]]:
        """All parts of the answer to each of some requests."""
        found: dict[str, list[Response]] = {request.request_id: [] for request in requests}
        waiting = {request.request_id: request for request in requests}
        while waiting:
            for message in self.part(list(waiting.values())):
                for name, response in message.items():
                    found[name].append(response)
                    asked = waiting.pop(name)
                    if response.more_follows:
                        waiting[name] = asked.again()
        return list(found.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    tokenizer().save(str(made / "tokenizer.json"))
    return made


@pytest.fixture(params=[False, True], ids=["batched", "joined"])
def joins(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what workers are spoken to through."""
    made: list[socket.socket] = []
    pair = socket.socketpair

    def kept() -> tuple[socket.socket, socket.socket]:
        made.extend(both := pair())
        return both

    monkeypatch.setattr(socket, "socketpair", kept)
    yield
    for each in made:
        each.close()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is told at once that it is alive, and after each pass."""
    monkeypatch.setattr(generation, "ALIVE_SECONDS", -1.0)
    monkeypatch.setattr(generation, "SLICE_SECONDS", 1e-3)


def said(parts: Sequence[Response]) -> list[Any]:
    """What the lines of a stream say."""
    lines = b"".join(each.body for each in parts).split(b"\n")
    return [json.loads(line.removeprefix(b"data: ")) for line in lines if line]


@pytest.mark.usefixtures("often")
def test_a_small_request_does_not_wait_for_all_of_a_large_one(folder: Path) -> None:
    worker = Worker(folder, joins=True)
    many = {"instances": ["x"] * 20, "parameters": {"max_new_tokens": 9}}
    large, small = Request.json(many), ask("a", max_new_tokens=2)
    worker.part([large])
    rows = worker.handler._streams[large.request_id].sequences
    waits, again = True, small
    while waits:
        (message,) = worker.part([large.again(), again])
        waits, again = message[small.request_id].more_follows, small.again()
    assert sum(each.done for each in rows) <= 4


@pytest.mark.usefixtures("often")
def test_what_waits_for_its_turn_has_its_media_type_at_once(folder: Path) -> None:
    worker = Worker(folder, joins=True, slots=1)
    first, second = worker.answers(
        ask("a", max_new_tokens=9), ask("b", max_new_tokens=2, stream=True, accept=EVENTS)
    )
    assert second[0].body == b""
    assert {each.content_type for each in second} == {EVENTS}
    assert {each.content_type for each in first} == {"application/json"}


def test_what_is_written_is_counted(
    folder: Path, joins: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    class Counted(TextGeneration):
        telemetry = Telemetry("writer")

    worker = Worker(folder, joins=joins, kind=Counted)
    streamed, whole = ask("b", max_new_tokens=2, stream=True), ask("a", max_new_tokens=3)
    pieces, answer = worker.answers(streamed, whole)
    written = said(pieces)[-1]["tokens"] + answer[-1].json()["tokens"]
    counts = reported(capsys.readouterr().out)
    assert sum(count for name, count in counts if name == "Tokens") == written > 0


@pytest.mark.usefixtures("often")
def test_a_text_is_a_span_of_its_callers_trace(
    folder: Path, joins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with collecting(monkeypatch) as collector:

        class Traced(TextGeneration):
            tracing = tracing.begin("writer")

        worker = Worker(folder, joins=joins, slots=3, kind=Traced)
        caller = {"traceparent": f"00-{trace}-{parent}-01"}
        body = {"data": "b", "parameters": {"max_new_tokens": 2, "stream": True}}
        streamed = Request.json(body, caller)
        asked = [streamed, ask("a", max_new_tokens=3), ask("a", max_new_tokens=-1)]
        worker.answers(*asked)
        wait_until(lambda: len(collector.spans) >= len(asked))
        if joins:
            worker.part([ask("a", max_new_tokens=99)])  # its client hangs up
            worker.answers(ask("a", max_new_tokens=1))
            wait_until(lambda: len(collector.spans) >= len(asked) + 2)
    told = [
        {each.key: each.value.int_value or each.value.string_value for each in span.attributes}
        for span in collector.spans
    ]
    assert [each["http.response.status_code"] for each in told].count(422) == 1
    made = {each["gen_ai.usage.output_tokens"] for each in told}
    assert made >= {2, 3}
    assert [each["marsmith.ended"] for each in told].count("abandoned") == joins
    for span, said_of in zip(collector.spans, told, strict=True):
        assert span.name == "predict writer"
        events = [event.name for event in span.events]
        assert events == ["first token"] * (said_of["marsmith.ended"] != "failed")
        for event in span.events:
            assert span.start_time_unix_nano < event.time_unix_nano < span.end_time_unix_nano
    (within,) = (span for span in collector.spans if span.parent_span_id.hex() == parent)
    assert within.trace_id.hex() == trace


def test_who_has_no_time_to_read_the_prompt_is_told(folder: Path, joins: bool) -> None:
    def slow(inputs: Tensors) -> Tensors:
        time.sleep(0.1)
        return runtime()(inputs)

    worker = Worker(folder, joins=joins, run=slow, seconds=0.05)
    (scored,) = worker.answers(ask("x" * 200, max_new_tokens=0, score=True))
    assert scored[-1].status == 503
    assert "no time left" in scored[-1].json()["error"]


class Clumsy(TextGeneration):
    """Cannot say what it has written after an exclamation mark."""

    def written(self, row: TokenSequence) -> Any:
        if row.prompt == tokenizer().encode("!").ids:
            raise KeyError("s3cret")
        return super().written(row)


def test_an_answer_that_cannot_be_given_fails_alone(folder: Path, joins: bool) -> None:
    worker = Worker(folder, joins=joins, slots=3, kind=Clumsy)
    options: dict[str, Any] = {"max_new_tokens": 6}
    bad, good, streamed = worker.answers(
        ask("!", **options), ask("ok", **options), ask("!", stream=True, accept=EVENTS, **options)
    )
    assert (bad[-1].status, good[-1].status) == (500, 200)
    assert good[-1].json()["tokens"] == 6
    assert "the handler failed" in bad[-1].json()["error"]
    assert "the handler failed" in said(streamed)[-1]["error"]
    assert worker.handler._streams == {}


@pytest.mark.usefixtures("often")
def test_an_open_stream_is_ended_as_it_began_whatever_happens(folder: Path, joins: bool) -> None:
    worker = Worker(folder, joins=joins)
    step, steps = worker.handler._decoder.step, itertools.count(1)

    def failing() -> None:
        if next(steps) == 30:
            raise RuntimeError("a bug")
        step()

    worker.handler._decoder.step = failing
    streamed, whole = worker.answers(
        ask("b", max_new_tokens=99, stream=True, accept=EVENTS), ask("c", max_new_tokens=99)
    )
    assert {each.content_type for each in streamed} == {EVENTS}
    assert streamed[-1].body.startswith(b"data: {")
    assert streamed[-1].body.endswith(b"}\n\n")
    assert said(streamed)[-1].keys() == {"error", "hint"}
    assert whole[-1].json() == said(streamed)[-1]
    (after,) = worker.answers(ask("a", max_new_tokens=3))
    assert after[-1].json()["tokens"] == 3


def test_what_needs_too_much_memory_is_told_so(folder: Path, joins: bool) -> None:
    def run(inputs: Tensors) -> Tensors:
        if (inputs["input_ids"] == row("!").prompt[0]).any():
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return runtime()(inputs)

    worker = Worker(folder, joins=joins, run=run)
    large, small = worker.answers(ask("!", max_new_tokens=3), ask("a", max_new_tokens=3))
    assert (large[-1].status, small[-1].status) == (507, 200)


def test_a_lost_device_is_looked_for(folder: Path) -> None:
    class Watched(TextGeneration):
        def inference(self, batch: Tensors) -> Tensors:
            asked.append(len(batch["input_ids"]))
            return super().inference(batch)

    asked: list[int] = []
    Worker(folder, joins=True, kind=Watched).answers(ask("a", max_new_tokens=3))
    assert asked
