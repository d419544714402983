"""Exchanges: the rows of a batch, each with its request and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from handlers import logs
from handlers.errors import BadRequest, HandlerError, ModelError, unexpected
from handlers.explanations import Explainer
from handlers.protocols import (
    binary_tensors,
    forms,
    json_text,
    negotiation,
    openai,
    payload,
    writing,
)
from handlers.protocols.parsed_request import ParsedRequest
from handlers.schema import SchemaError, parse
from handlers.task import Answer, C, M, O, Sample, Task
from handlers.torchserve import Context

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R")

BYTES = "application/octet-stream"
TRACE = ("traceparent", "tracestate")
MAX_MESSAGE = 2000  # characters; an answer above max_response_size would break the connection


@dataclass
class Exchange:
    """One row of a batch, from the request to its answer; filled step by step.

    Attributes:
        row: parameter names to values, as TorchServe hands them over.
        media_types: parameter names to the media types they came with.
        accept: the media types that the client wants, from the HTTP header.
        describe: whether a description of the model is wanted, not an answer.
        explain: whether an explanation is wanted, not a prediction.
        json_length: the length of the JSON before binary tensors, from the HTTP header.
        form: the media type of a form whose bytes are the body, from the HTTP header.
        grpc: whether it came by gRPC, which has no headers but those of parameters.
        trace: the headers of the caller's trace, by their names.
        request_id: what the access log calls the request; empty where nobody has said it.
        sent: all HTTP headers, by their names in lower case.
        route: the route of OpenAI's that it came by, if it did.
        request: the parsed row.
        options: the request's options, validated.
        samples: its decoded instances.
        answers: one for each sample.
        status: the HTTP status of the answer.
        body: the answer; None until it is known.
        media_type: the media type of the answer.
        headers: more headers of the answer.
    """

    row: Mapping[str, object]
    media_types: Mapping[str, str] = field(default_factory=dict)
    accept: str = ""
    describe: bool = False
    explain: bool = False
    json_length: str | None = None
    form: str | None = None
    grpc: bool = False
    trace: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""
    sent: Mapping[str, str] = field(default_factory=dict)
    route: openai.Route | None = None
    request: ParsedRequest | None = None
    options: Any = None
    samples: Sequence[Sample[Any, Any]] = ()
    answers: Sequence[Answer] = ()
    status: int = HTTPStatus.OK
    body: bytes | None = None
    media_type: str = json_text.JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def begin(
        cls, row: Mapping[str, object], headers: Mapping[str, object], model_name: str = "model"
    ) -> Exchange:
        """Take a row and its headers from TorchServe; those of its parts are under their names."""
        sent = {n.lower(): str(each) for n, each in headers.items() if not isinstance(each, dict)}
        request_id = sent.get("x-request-id", "")
        route = openai.find(sent.get("url_path") or sent.get(openai.HEADER, ""))
        return cls(
            row,
            {
                name: str(part.get("content-type") or "")
                for name in row
                if isinstance(part := headers.get(name), dict)
            },
            accept=sent.get("accept", ""),
            describe=headers.get("describe") == "True",
            explain=headers.get("explain") == "True",
            json_length=sent.get(binary_tensors.HEADER),
            form=sent.get(forms.HEADER),
            trace={name: sent[name] for name in TRACE if name in sent},
            sent=sent,
            grpc=all(isinstance(value, dict) for value in headers.values()),
            request_id=request_id,
            route=route(model_name, request_id) if route else None,
        )

    @property
    def open(self) -> bool:
        """Whether it has yet to be answered."""
        return self.body is None

    @property
    def instances(self) -> Sequence[object]:
        """The request's instances, while there is something to decode."""
        return self.request.instances if self.open and self.request else ()

    def read(self, task: Task[C, O, M], explainer: Explainer[M] | None = None) -> None:
        """Read the row's instances and options; see `payload.read`.

        Args:
            task: the task that is asked.
            explainer: gives the options instead, when an explanation is wanted.

        Raises:
            BadRequest: it can't be read, holds more than the task allows, or has unknown options.
        """
        options: type[DataclassInstance] = task.Options
        defaults = task.config.defaults or {}
        self.options = task.default_options
        if explainer:
            options, defaults = explainer.ExplainOptions, {}
            self.options = options()
        names = [option.name for option in fields(options)]
        config = task.config
        limits = json_text.JsonLimits(
            config.max_json_bytes, config.max_json_values, config.max_json_depth
        )
        if self.form:
            body = self.row.get("body", b"")
            self.row, self.media_types = forms.read(body, self.form, config.max_inputs)
        else:
            self.row = payload.received(self.row, self.media_types, limits)
        if self.route:
            request, usual = self._asked(self.route, task, names, limits)
            defaults = {**usual, **defaults}
        else:
            request = payload.read(
                self.row,
                self.media_types,
                names,
                self.json_length,
                task.parts,
                limits=limits,
                max_inputs=config.max_inputs,
            )
        self.request, most = request, config.max_instances
        if len(request.instances) > most:
            raise BadRequest(
                f"{len(request.instances)} instances in one request; at most {most} are allowed",
                hint="send fewer at once; the setting is 'max_instances'",
                status=413,
            )
        task.screen(request.instances)
        try:
            if request.options or self.route:
                given = {**defaults, **request.options}
                self.options = parse(options, given, where="the options", text=request.textual)
            if not explainer:
                self._take_headers(task, request.options)
        except SchemaError as error:
            raise BadRequest(str(error), status=422) from None

    def _take_headers(self, task: Task[C, O, M], said: Mapping[str, object]) -> None:
        """Set the options that headers give, which the body may not give, too."""
        given = {name: self.sent[h] for name, h in task.option_headers.items() if h in self.sent}
        if twice := [name for name in given if name in said]:
            raise BadRequest(
                f"{twice[0]!r} is in the body, and in the header"
                f" {task.option_headers[twice[0]].title()}",
                hint="send it once",
                status=422,
            )
        if given:
            parsed = parse(task.Options, given, where="the headers", text=True)
            self.options = replace(self.options, **{name: vars(parsed)[name] for name in given})

    def _asked(
        self,
        route: openai.Route,
        task: Task[C, O, M],
        names: Sequence[str],
        limits: json_text.JsonLimits,
    ) -> tuple[ParsedRequest, Mapping[str, object]]:
        """Read what a route of OpenAI's is asked, and the options where nobody says anything."""
        if self.explain:
            raise BadRequest("OpenAI has no explanations", hint="ask at /explanations", status=404)
        openai.check(route, task.Answer)
        body = self.row if route.form else payload.read_json(self.row, self.media_types, limits)
        asked = route.read(body, names)
        usual = {name: value for name, value in asked.usual.items() if name in names}
        return ParsedRequest("openai", asked.instances, asked.options), usual

    def take(self, results: Sequence[R | HandlerError]) -> Sequence[R]:
        """Take the results of its instances; fail and return none when one of them is an error."""
        found: list[R] = []
        for index, result in enumerate(results):
            if isinstance(result, HandlerError):
                self.fail(result, f"instance {index}: " if len(results) > 1 else "")
                return []
            found.append(result)
        return found

    def finish(self, model_name: str, version: str, max_bytes: int) -> None:
        """Write the answers.

        Raises:
            HandlerError: they can't be written, or are larger than `max_bytes`.
        """
        if self.request is None:
            raise ModelError("the request was never read")
        media_type, headers = json_text.JSON, {}
        if self.accept and self.request.protocol == "raw":
            kind = type(self.answers[0])
            first, last = (json_text.JSON,), kind.media_types
            offered = (*last, *first) if kind.usually_encoded else (*first, *last)
            media_type = negotiation.choose(self.accept, offered)
        if self.route:
            body = self._written(self.route)
            media_type = self.route.media_type
        elif media_type == json_text.JSON:
            names = {"model_name": model_name, "model_version": version}
            written = writing.write(self.request, self.answers, **names)
            body = written.body
            if written.json_length is not None:
                media_type = BYTES
                headers = {binary_tensors.HEADER: str(written.json_length)}
        else:
            body = self.answers[0].encode(media_type)
        if len(body) > max_bytes:
            raise BadRequest(
                f"the answer has {len(body)} bytes; at most {max_bytes} are allowed",
                hint="ask for less, or send fewer instances",
                status=413,
            )
        self.body, self.media_type, self.headers = body, media_type, headers

    def _written(self, route: openai.Route) -> bytes:
        said = route.write(self.answers)
        if isinstance(said, bytes):
            return said
        if isinstance(said, str):
            return said.encode("utf-8", "replace")
        try:
            return json_text.dump(said)
        except ValueError:
            raise ModelError("the model's answer is not finite", hint="check the input") from None

    def fail(self, error: BaseException, where: str = "") -> None:
        """Answer with an error; one that was not raised on purpose is a bug, and a bare 500."""
        logs.note(error, [self.request_id])
        error = unexpected(error)
        if self.route:
            self.status, said = openai.error(error, where)
            self.body = json_text.dump(said)
            return
        self.status = error.status
        message = (where + error.message)[:MAX_MESSAGE]
        self.body = json_text.dump({"error": message, "hint": error.hint[:MAX_MESSAGE]})

    def set_headers(self, context: Context, index: int) -> None:
        """Tell TorchServe the status and the content type of the answer.

        Args:
            context: TorchServe's.
            index: the row's position in its batch.
        """
        # ASCII only: TorchServe miscounts any other phrase, and the worker hangs for good.
        context.set_response_status(self.status, HTTPStatus(self.status).phrase, index)
        context.set_response_content_type(index, self.media_type)
        for name, value in self.headers.items():
            context.set_response_header(index, name, value)
        if self.grpc:
            # TorchServe ends a worker whose answer to a stream doesn't say that it is the last.
            context.set_response_header(index, "ts_stream_next", "false")
