"""Texts that TorchServe's clients see as they are written, and that are written together.

A worker is asked in one of two ways:

- A batch at a time, TorchServe's usual one. Rows that stream get their pieces in messages between;
  a row that has ended is answered with the next of these. New requests wait for the batch.
- Continuously (`continuousBatching`): a worker is asked again and again for the rows that are on
  their way, and for new ones, which join. A row that is left out of an answer is asked for again,
  one that is no longer asked for has been given up by its client.

Only HTTP rows are streamed to. By gRPC a worker can't tell `StreamPredictions` from `Predictions`,
and a second message to the latter stops it for good; where all clients are known to call the
former, `grpc_streams` allows it, but not continuously: TorchServe then drops such a stream after
its first message. See: BatchAggregator.java, ContinuousBatching.java, GRPCJob.java (`isOpen`) in
TorchServe 0.12.

An answer that takes long has its headers, a 200, before it is known. What goes wrong after that
can't change them: a stream ends with a line of `error` and `hint`, and where nothing is streamed
the body of the 200 is an object of these two.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ts.protocol.otf_message_handler import create_predict_response

from handlers import base, negotiation, payload
from handlers.batching import Sample
from handlers.errors import BadRequest, HandlerError, unexpected
from handlers.exchange import Exchange
from handlers.generation.decoding import Decoder, Row
from handlers.inputs import text
from handlers.metrics import Batch
from handlers.schema import setting

SLICE_SECONDS = 0.03  # of writing, before pieces are sent and new rows are let in
ALIVE_SECONDS = 2.0  # after which a client that doesn't stream gets its headers, to see it hang up
LINES, EVENTS = "application/jsonlines", "text/event-stream"


@dataclass(frozen=True, kw_only=True)
class Config(text.Config):
    """How long it may take, and who is streamed to."""

    max_instances: int = setting(64, "The most instances in one request.", minimum=1)
    max_seconds: float = setting(120.0, "The most time for one text; then it ends.", minimum=1)
    grpc_streams: bool = setting(
        False, "Stream by gRPC, too. A client that calls Predictions then stops the worker."
    )


C = TypeVar("C", bound=Config)


@dataclass(eq=False)
class Talk:
    """A request, from when it comes to its last byte.

    Attributes:
        exchange: what was asked, and the answer where it isn't streamed.
        rows: what is written for it.
        media_type: of its stream; None where it isn't one.
        pieces: its stream may be sent in pieces.
        sent: how many characters of its stream have been.
        opened: some of its answer has been sent.
        began: when it came.
        error: why all of it has failed.
    """

    exchange: Exchange
    rows: list[Row] = field(default_factory=list)
    media_type: str | None = None
    pieces: bool = False
    sent: int = 0
    opened: bool = False
    began: float = field(default_factory=time.monotonic)
    error: HandlerError | None = None

    @property
    def done(self) -> bool:
        """Whether all of the answer is known."""
        return all(row.done for row in self.rows)

    @property
    def news(self) -> bool:
        """Whether there is a piece to be sent, and more will follow."""
        return self.pieces and not self.done and len(self.rows[0].text) > self.sent

    def take(self) -> str:
        """What has been written of a stream, and not been sent."""
        piece = self.rows[0].text[self.sent :]
        self.sent += len(piece)
        return piece


class Serving(base.Handler[C]):
    """A handler that writes texts token by token.

    A task says how a text begins, what is answered, and with which model; `decode` gives samples
    whose options have `stream`.
    """

    Config = Config
    continuous = True

    @abstractmethod
    def row(self, sample: Sample) -> Row:
        """What is to be written for a sample."""

    @abstractmethod
    def written(self, row: Row) -> payload.Answer:
        """The answer, with a `text`, of a row that has ended without an error."""

    @abstractmethod
    def decoder(self, slots: int) -> Decoder:
        """What writes rows with `runtime`."""

    def initialize(self, context: Any) -> None:
        """Load the model; see `Handler.initialize`."""
        super().initialize(context)
        self._joins = (context.model_yaml_config or {}).get("continuousBatching") is True
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._talks: dict[str, Talk] = {}
        self._writes = self.decoder(max(1, self.batch_size))
        self._batch = Batch()

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Answer a batch, or the next part of what is asked continuously.

        Args:
            data: parameter names to values, for each row; none for what was answered in part.
            context: TorchServe's; rows that get nothing now are taken from its `request_ids`.
        """
        ids: dict[int, str] = dict(context.request_ids)
        context.stopping_criteria = None  # of the call before
        self.until = time.monotonic() + self.seconds
        try:
            self._part(set(ids.values()))
            self._greet(data, ids, context)
            talks = {index: self._talks[name] for index, name in ids.items()}
            self._write()
            while not self._joins and not all(talk.done for talk in talks.values()):
                if any(talk.news for talk in talks.values()):
                    self._send_between(talks, context)
                self._write()
        except Exception as error:  # the last resort: TorchServe would fail the whole batch
            talks = self._fail_all(error, ids, context)
        bodies = self._say_all(talks, context)
        for index in ids.keys() - bodies.keys():
            context.request_ids.pop(index, None)
        if any(self._batch.counts.values()):
            self.metrics.report(self._batch)
            self._batch = Batch()
        return [bodies.get(index, b"") for index in range(len(data))]

    # -- Rows that come and go ----------------------------------------------------------------

    def _part(self, wanted: set[str]) -> None:
        """Forget those that are no longer asked for: their clients have hung up."""
        for name in self._talks.keys() - wanted:
            for row in self._talks.pop(name).rows:
                self._writes.leave(row)

    def _greet(self, data: Sequence[Mapping[str, Any]], ids: dict[int, str], context: Any) -> None:
        new: list[Talk] = []
        for index, name in ids.items():
            if name not in self._talks:
                headers = context.get_all_request_header(index)
                self._talks[name] = Talk(self._open(data[index], headers))
                new.append(self._talks[name])
        if not new:
            return
        with self._batch.stage("PreprocessTime"):
            self.preprocess([talk.exchange for talk in new])
            for talk in new:
                try:
                    self._join(talk)
                except Exception as error:  # a bug of ours must not reach the neighbours
                    talk.exchange.fail(error)

    def _join(self, talk: Talk) -> None:
        exchange = talk.exchange
        if not exchange.open or not exchange.request:
            return
        rows = [self.row(sample) for sample in exchange.samples]
        if exchange.options.stream:
            if len(rows) != 1 or exchange.request.protocol != "raw":
                raise BadRequest(
                    "a stream is of one instance", hint='send {"data": "..."}', status=422
                )
            talk.media_type = negotiation.choose(exchange.accept, (LINES, EVENTS))
            allowed = self.config.grpc_streams and not self._joins
            talk.pieces = allowed or not exchange.grpc
        talk.rows = rows
        for row in rows:
            self._writes.join(row, id(talk))

    def _write(self) -> None:
        """Write for a while; end what TorchServe would not wait for."""
        until = time.monotonic() + SLICE_SECONDS
        with self._batch.stage("InferenceTime"):
            while self._writes.busy and time.monotonic() < until:
                self._writes.step()
        if time.monotonic() < self.until:
            return
        for talk in self._talks.values():
            for row in talk.rows:
                row.expire()
                self._writes.leave(row)

    def _fail_all(self, error: Exception, ids: dict[int, str], context: Any) -> dict[int, Talk]:
        talks = {}
        for index in context.request_ids:
            talk = self._talks.get(ids[index]) or Talk(Exchange({}))
            talk.rows, talk.error = [], unexpected(error)
            talks[index] = talk
        self._begin_anew()
        self._talks = {ids[index]: talk for index, talk in talks.items()}
        return talks

    # -- What is said -------------------------------------------------------------------------

    def _send_between(self, talks: dict[int, Talk], context: Any) -> None:
        """Send what there is, before the end of a batch; some of it is followed by more."""
        bodies = self._say_all(talks, context)
        names = {index: context.request_ids[index] for index in bodies}
        everything = [bodies.get(index, b"") for index in range(max(bodies) + 1)]
        context.cl_socket.sendall(
            create_predict_response(everything, names, "Prediction success", 200, context)
        )
        for index in [index for index in bodies if talks[index].done]:
            del talks[index], context.request_ids[index]
        self.until = time.monotonic() + self.seconds  # TorchServe waits anew

    def _say_all(self, talks: dict[int, Talk], context: Any) -> dict[int, bytes]:
        """The next parts of answers; those that are over are forgotten."""
        with self._batch.stage("PostprocessTime"):
            said = {index: self._next(talk) for index, talk in talks.items()}
        bodies = {index: body for index, body in said.items() if body is not None}
        context.stopping_criteria = {}
        for index in bodies:
            talk = talks[index]
            self._say(context, index, talk.exchange)
            streamed = talk.opened or talk.exchange.grpc or not talk.done
            # What TorchServe calls to know whether an answer is over; None is of one part.
            last = talk.done if streamed else None
            context.stopping_criteria[index] = lambda _, last=last: last
            talk.opened = True
            if talk.done:
                self._talks.pop(context.request_ids[index], None)
        return bodies

    def _next(self, talk: Talk) -> bytes | None:
        """The next part of an answer; None when there is nothing to say yet."""
        try:
            return self._last(talk) if talk.done else self._between(talk)
        except Exception as error:  # a bug of ours must not reach the neighbours
            for row in talk.rows:
                self._writes.leave(row)
            talk.rows, talk.error = [], unexpected(error)
            return self._last(talk)

    def _between(self, talk: Talk) -> bytes | None:
        if talk.news:
            talk.exchange.media_type = talk.media_type or payload.JSON
            return _line(talk, {"text": talk.take()})
        # Only of what is answered in part TorchServe looks whether anybody still reads it.
        waits = time.monotonic() - talk.began > ALIVE_SECONDS
        alive = talk.opened or (waits and (talk.pieces or not talk.media_type))
        if not self._joins or not alive or talk.exchange.grpc:
            return None
        talk.exchange.media_type = talk.media_type or payload.JSON
        return b""

    def _last(self, talk: Talk) -> bytes:
        exchange, counts = talk.exchange, self._batch.counts
        counts["Instances"] += len(talk.rows)
        error = talk.error or next((row.error for row in talk.rows if row.error), None)
        if talk.media_type and (talk.opened or not error):
            said = {"error": error.message, "hint": error.hint} if error else self._whole(talk)
            line = _line(talk, said)
            exchange.media_type = talk.media_type
            return line
        if exchange.open and talk.error:
            exchange.fail(talk.error)
        if exchange.open:
            exchange.answers = exchange.take([row.error or self.written(row) for row in talk.rows])
            self._finish(exchange)
        counts["RefusedRequests"] += 400 <= exchange.status < 500
        counts["FailedRequests"] += exchange.status >= 500
        return exchange.body or b""

    def _whole(self, talk: Talk) -> dict[str, Any]:
        return {**self.written(talk.rows[0]).to_json(), "text": talk.take()}


def _line(talk: Talk, said: dict[str, Any]) -> bytes:
    data = payload.dump(said)
    return b"data: " + data + b"\n\n" if talk.media_type == EVENTS else data + b"\n"
