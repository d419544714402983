"""Serve texts that are written together, and that clients may see while they are written.

A worker is asked in one of two ways:

- A batch at a time, TorchServe's usual way. Rows that stream get their pieces in messages before
  the end of the batch; a row that has ended is answered in the next of these. New requests wait.
- Continuously (`continuousBatching`): a worker is asked again and again for the rows that are on
  their way, and for new ones, which join. A row that an answer leaves out is asked for again; a
  row that is no longer asked for has been given up by its client.

Only HTTP rows are streamed. By gRPC a worker can't tell `StreamPredictions` from `Predictions`,
and a second message to the latter stops it for good; where all clients are known to call the
former, `grpc_streams` allows it, but not continuously: TorchServe then drops such a stream after
its first message. See: BatchAggregator.java, ContinuousBatching.java, GRPCJob.java (`isOpen`) in
TorchServe 0.12.

An answer that takes long has its headers, a 200, before it is known. What goes wrong after that
can't change them: a stream ends with a line of `error` and `hint`, and where nothing is streamed
the body of the 200 is an object of these two.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from ts.protocol.otf_message_handler import create_predict_response

from handlers import base, logs
from handlers.device import CPU
from handlers.errors import RAISED, BadRequest, unexpected
from handlers.generation.decoding import Decoder, TokenSequence
from handlers.generation.streams import EVENTS, LINES, Stream
from handlers.protocols import negotiation
from handlers.protocols.exchange import Exchange
from handlers.runtimes import Runtime
from handlers.schema import JsonObject, setting
from handlers.task import Answer, Config, M, O, Sample
from handlers.telemetry import BatchMetrics
from handlers.torchserve import Context

SLICE_SECONDS = 0.03  # of writing, before pieces are sent and new rows may join
ONE_BY_ONE = ("raw", "openai")  # protocols in which a request may have one instance alone
ALIVE_SECONDS = 2.0  # until a client that doesn't stream gets its headers, to see it hang up


@dataclass(frozen=True, kw_only=True)
class GenerationConfig(Config):
    """How long a text may take, and which clients may stream."""

    max_instances: int = setting(64, "The most instances in one request.", minimum=1)
    max_seconds: float = setting(120.0, "The most time for one text, which then ends.", minimum=1)
    grpc_streams: bool = setting(
        False, "Stream by gRPC, too. A client that calls Predictions then stops the worker."
    )


C = TypeVar("C", bound=GenerationConfig)


@dataclass(frozen=True)
class Written(Answer):
    """The answer to a sequence that has ended, an object with its `text` in it."""

    text: str

    def to_json(self) -> JsonObject:
        """The fields by name."""
        return dict(vars(self))


class GenerationHandler(base.Handler[C, O, M]):
    """A handler that writes texts token by token.

    A task defines how a text begins, what is answered, and with which model; `decode` gives
    samples whose options have `stream`.

    Attributes:
        joins: whether it is asked continuously, and new requests join those on their way.
    """

    Config = GenerationConfig
    continuous = True
    joins = False

    @abstractmethod
    def sequence(self, sample: Sample[O, M]) -> TokenSequence:
        """The sequence that is to be written for a sample."""

    @abstractmethod
    def written(self, sequence: TokenSequence) -> Written:
        """The answer to a sequence that has ended without an error."""

    @abstractmethod
    def decoder(self, slots: int) -> Decoder:
        """A decoder that writes sequences with `runtime`."""

    def initialize(self, context: Context) -> None:
        """Load the model; see `Handler.initialize`."""
        self.joins = (context.model_yaml_config or {}).get("continuousBatching") is True
        super().initialize(context)
        self._begin_anew()  # the warm-up was no request

    def use(
        self,
        runtime: Runtime,
        *,
        batch_size: int = 1,
        device: torch.device = CPU,
        seconds: float = math.inf,
    ) -> None:
        """Take a model to write with; what was written with another is forgotten."""
        super().use(runtime, batch_size=batch_size, device=device, seconds=seconds)
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._streams: dict[str, Stream] = {}
        self._decoder = self.decoder(self.batch_size)
        self._batch = BatchMetrics()

    def handle(self, data: Sequence[Mapping[str, object]], context: Context) -> list[bytes]:
        """Answer a batch, or the next part of what is asked continuously.

        Args:
            data: parameter names to values, for each row; none for what was answered in part.
            context: TorchServe's; rows that get nothing now are taken from its `request_ids`.
        """
        ids: dict[int, str] = dict(context.request_ids)
        context.stopping_criteria = None  # of the call before
        self.until = time.monotonic() + self.seconds
        try:
            self._abort(self._streams.keys() - set(ids.values()))
            self._admit(data, ids, context)
            streams = {index: self._streams[name] for index, name in ids.items()}
            self._write()
            while not self.joins and not all(stream.done for stream in streams.values()):
                if any(stream.has_piece for stream in streams.values()):
                    self._send_between(streams, context)
                self._write()
        except RAISED as error:  # the last resort: TorchServe would fail the whole batch
            streams = self._fail_all(error, ids, context)
        bodies = self._next_parts(streams, context)
        for index in ids.keys() - bodies.keys():
            context.request_ids.pop(index, None)
        if self.telemetry and any(self._batch.counts.values()):
            self.telemetry.report(self._batch)
            self._batch = BatchMetrics()
        return [bodies.get(index, b"") for index in range(len(data))]

    # -- Requests that come and go ------------------------------------------------------------

    def _abort(self, names: Iterable[str]) -> None:
        """Forget requests that are no longer asked for: their clients have hung up."""
        for name in names:
            stream = self._streams.pop(name)
            for sequence in stream.sequences:
                self._decoder.abort(sequence)
            self._trace(stream, "abandoned")

    def _trace(self, stream: Stream, ended: str) -> None:
        if self.tracing:
            tokens = sum(len(sequence.made) for sequence in stream.sequences)
            self.tracing.report_text(
                stream.exchange, began=stream.came, first=stream.first, tokens=tokens, ended=ended
            )

    def _admit(
        self, data: Sequence[Mapping[str, object]], ids: dict[int, str], context: Context
    ) -> None:
        new: list[Stream] = []
        for index, name in ids.items():
            if name not in self._streams:
                headers = context.get_all_request_header(index)
                self._streams[name] = Stream(self.begin(data[index], headers))
                new.append(self._streams[name])
        if not new:
            return
        with self._batch.stage("PreprocessTime"):
            self.read_all([stream.exchange for stream in new])
            for stream in new:
                try:
                    self._start(stream)
                except RAISED as error:  # a bug of ours must not reach the neighbours
                    stream.exchange.fail(error)

    def _start(self, stream: Stream) -> None:
        exchange = stream.exchange
        if not exchange.open or not exchange.request:
            return
        sequences = [self.sequence(sample) for sample in exchange.samples]
        if exchange.options.stream:
            if len(sequences) != 1 or exchange.request.protocol not in ONE_BY_ONE:
                raise BadRequest(
                    "a stream takes one instance", hint='send {"data": "..."}', status=422
                )
            chosen = negotiation.choose(exchange.accept, (LINES, EVENTS))
            stream.media_type = EVENTS if exchange.route else chosen
            allowed = self.config.grpc_streams and not self.joins
            stream.piecewise = allowed or not exchange.grpc
        stream.sequences = sequences
        for sequence in sequences:
            self._decoder.add(sequence, id(stream))

    def _write(self) -> None:
        """Write for a while; end the texts that TorchServe would not wait for."""
        until = time.monotonic() + SLICE_SECONDS
        with self._batch.stage("InferenceTime"):
            while self._decoder.busy and time.monotonic() < until:
                self._decoder.step()
                if self.tracing:
                    self._note_first_tokens()
        if time.monotonic() < self.until:
            return
        for stream in self._streams.values():
            for sequence in stream.sequences:
                sequence.expire()
                self._decoder.abort(sequence)

    def _note_first_tokens(self) -> None:
        for stream in self._streams.values():
            if stream.first is None and any(sequence.made for sequence in stream.sequences):
                stream.first = time.time_ns()

    def _fail_all(
        self, error: BaseException, ids: dict[int, str], context: Context
    ) -> dict[int, Stream]:
        streams = {}
        for index in context.request_ids:
            stream = self._streams.get(ids[index]) or Stream(Exchange({}))
            stream.sequences, stream.error = [], unexpected(error)
            streams[index] = stream
        self._begin_anew()
        self._streams = {ids[index]: stream for index, stream in streams.items()}
        return streams

    # -- What is said -------------------------------------------------------------------------

    def _send_between(self, streams: dict[int, Stream], context: Context) -> None:
        """Send what there is before the end of a batch; more may follow."""
        bodies = self._next_parts(streams, context)
        names = {index: context.request_ids[index] for index in bodies}
        everything = [bodies.get(index, b"") for index in range(max(bodies) + 1)]
        context.cl_socket.sendall(
            create_predict_response(everything, names, "Prediction success", 200, context)
        )
        for index in [index for index in bodies if streams[index].done]:
            del streams[index], context.request_ids[index]
        self.until = time.monotonic() + self.seconds  # TorchServe waits anew

    def _next_parts(self, streams: dict[int, Stream], context: Context) -> dict[int, bytes]:
        """The next parts of answers; forget the streams that are over."""
        with self._batch.stage("PostprocessTime"):
            said = {index: self._next(stream) for index, stream in streams.items()}
        bodies = {index: body for index, body in said.items() if body is not None}
        context.stopping_criteria = {}
        for index in bodies:
            stream = streams[index]
            stream.exchange.set_headers(context, index)
            streamed = stream.opened or stream.exchange.grpc or not stream.done
            # TorchServe calls this to know whether an answer is over; None means one part.
            last = stream.done if streamed else None
            context.stopping_criteria[index] = _always(last)
            stream.opened = True
            if stream.done:
                self._streams.pop(context.request_ids[index], None)
                failed = stream.failure or stream.exchange.status >= 400
                self._trace(stream, "failed" if failed else "answered")
        return bodies

    def _next(self, stream: Stream) -> bytes | None:
        """The next part of an answer; None when there is nothing to say yet."""
        try:
            return self._last(stream) if stream.done else self._between(stream)
        except RAISED as error:  # a bug of ours must not reach the neighbours
            for sequence in stream.sequences:
                self._decoder.abort(sequence)
            logs.note(error, [stream.exchange.request_id])
            stream.sequences, stream.error = [], unexpected(error)
            return self._last(stream)

    def _between(self, stream: Stream) -> bytes | None:
        if stream.has_piece:
            return stream.line({"text": stream.take()})
        # TorchServe checks whether a client still reads only once an answer has begun.
        waits = time.monotonic() - stream.began > ALIVE_SECONDS
        alive = stream.opened or (waits and (stream.piecewise or not stream.media_type))
        if not self.joins or not alive or stream.exchange.grpc:
            return None
        stream.exchange.media_type = stream.media_type or stream.exchange.media_type
        return b""

    def _last(self, stream: Stream) -> bytes:
        exchange, counts = stream.exchange, self._batch.counts
        counts["Instances"] += len(stream.sequences)
        counts["Tokens"] += sum(len(sequence.made) for sequence in stream.sequences)
        error = stream.failure
        if stream.media_type and (stream.opened or not error):
            if error:
                return stream.line({"error": error.message, "hint": error.hint})
            whole = self.written(stream.sequences[0]).to_json()
            return stream.line({**whole, "text": stream.take()})
        if exchange.open and stream.error:
            exchange.fail(stream.error)
        if exchange.open:
            answers = [each.error or self.written(each) for each in stream.sequences]
            exchange.answers = exchange.take(answers)
            self.finish(exchange)
        counts["RefusedRequests"] += 400 <= exchange.status < 500
        counts["FailedRequests"] += exchange.status >= 500
        return exchange.body or b""


def _always(value: bool | None) -> Callable[[object], bool | None]:
    return lambda _: value
