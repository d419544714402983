"""The life of a worker, written once: load, warm up, and answer batch after batch."""

from __future__ import annotations

import dataclasses
import gc
import logging
import math
import time
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch

from handlers import batching, binary_tensors, device, explanations, interface, payload, runtimes
from handlers.batching import Sample
from handlers.errors import BadRequest, HandlerError, LoadError, ModelError, unexpected
from handlers.exchange import Exchange
from handlers.explanations import Explainer
from handlers.metrics import Batch, Metrics
from handlers.runtimes import Tensors
from handlers.schema import SchemaError, parse, setting
from handlers.torchserve import BaseHandler, quieten, read_ahead

logger = logging.getLogger(__name__)

WARM_UP_RUNS = (3, 10)  # at least and at most; TorchScript specialises in its first two
WARM_UP_SECONDS = 1.0
PATIENCE = 0.7  # of TorchServe's responseTimeout, for one batch
PARALLEL_BYTES = 32_768  # below this, handing a batch to the decode pool costs more than it saves


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What every task's `handler:` section in a `model-config.yaml` may say."""

    task: str = setting("", "The task: a module of handlers.")
    runtime: str = setting("torchscript", "What executes the model: a module of handlers.runtimes.")
    precision: str = setting("fp32", "The model's precision, for people; the model file has it.")
    runtime_options: dict[str, Any] | None = setting(None, "Passed to the runtime's load, by name.")
    threads: int = setting(0, "Threads per worker; 0 means cores ÷ workers.", minimum=0)
    defaults: dict[str, Any] | None = setting(None, "Options of requests that don't say.")
    max_instances: int = setting(1024, "The most instances in one request.", minimum=1)
    max_answer_bytes: int = setting(
        6_000_000, "The largest answer; less than TorchServe's max_response_size.", minimum=1
    )


C = TypeVar("C", bound=Config)


class Handler(BaseHandler, ABC, Generic[C]):  # type: ignore[misc]  # ts has no types
    """A TorchServe handler. A task subclasses it and writes what is abstract here.

    One that explains its answers is an `explanations.Explainer`, too.

    Attributes:
        Config: the dataclass of the task's settings.
        Options: the dataclass of what a request may ask for.
        Answer: the dataclass of what is answered for one instance.
        continuous: it can serve under TorchServe's continuous batching.
        parts: what an instance of several parts calls them; fields of a form are named so.
        config: the settings of this archive.
        runtime: the model; named tensors in, named tensors out.
    """

    Config: ClassVar[type[Any]] = Config
    Options: ClassVar[type[Any]]
    Answer: ClassVar[type[payload.Answer]]
    continuous: ClassVar[bool] = False
    parts: ClassVar[tuple[str, ...]] = ()

    config: C
    runtime: runtimes.Runtime
    batch_size = 1
    seconds = until = math.inf
    pool: ThreadPoolExecutor | None = None

    # -- What a task writes -------------------------------------------------------------------

    def setup(self, folder: Path) -> None:
        """Read what the task needs from the archive's folder: labels, a tokenizer.

        Raises:
            LoadError: something is missing or wrong.
        """

    def screen(self, instances: Sequence[Any]) -> None:
        """Refuse a request for what it holds in all, before any of it is decoded.

        Raises:
            BadRequest: decoding it would take too long or too much memory.
        """

    @abstractmethod
    def decode(self, instance: Any, options: Any) -> Sample:
        """One instance to the model's inputs, without the batch dimension.

        Args:
            instance: bytes, a string, JSON data, or a numpy array; see `payload.Request`.
            options: this request's `Options`.

        Raises:
            BadRequest: the instance can't be served; only its own request is refused.
        """

    def collate(self, samples: Sequence[Sample]) -> Tensors:
        """Samples of one `group_key` to a batch."""
        return batching.stack(samples)

    @abstractmethod
    def answer(self, outputs: Tensors, samples: Sequence[Sample]) -> Sequence[payload.Answer]:
        """The model's outputs for a batch to one answer per sample."""

    @abstractmethod
    def example(self) -> tuple[str, bytes]:
        """The media type and body of a request that can be served: for warm-up and describe."""

    @abstractmethod
    def describe_input(self) -> dict[str, Any]:
        """What an instance may be, for people and programs."""

    def group_key(self, sample: Sample) -> Any:
        """Samples of equal keys can share a batch; by default those of equal shapes."""
        return batching.same_shape(sample)

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """By input, the axes besides the batch that differ from request to request."""
        return {}

    def typical(self, samples: Sequence[Sample]) -> Tensors:
        """What the model is mostly run on when samples are answered, to time it on."""
        return self.collate(samples)

    # -- Loading ------------------------------------------------------------------------------

    def initialize(self, context: Any) -> None:
        """Load the model and warm it up: the first request is as fast as any.

        Raises:
            LoadError: the configuration, a file or the model is wrong.
        """
        try:
            self._load(context)
        except (RuntimeError, MemoryError):
            raise
        except Exception as error:  # of any other the worker would die without a word
            raise LoadError(f"{type(error).__name__}: {error}") from error

    def _load(self, context: Any) -> None:
        folder = Path(context.system_properties["model_dir"])
        served = context.model_yaml_config or {}
        self.context, self.manifest = context, context.manifest
        self.configure(served.get("handler", {}), folder)
        self.batch_size = int(context.system_properties.get("batch_size") or 1)
        self.seconds = PATIENCE * _positive(served.get("responseTimeout"), 120)
        self.device = device.choose(context.system_properties.get("gpu_id"))
        share = device.cores() // _positive(served.get("minWorkers"), 1)
        threads = self.config.threads or max(1, share)
        torch.set_num_threads(threads)
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self.metrics = Metrics(context.metrics, context.model_name)
        file = folder / str(self.manifest["model"].get("serializedFile"))
        options = self.config.runtime_options or {}
        self.runtime = runtimes.load(self.config.runtime, file, self.device, options)
        quieten()
        read_ahead()
        self._warm_up()
        gc.collect()
        gc.freeze()  # what is loaded stays: collecting it again and again would stall requests
        self.initialized = True

    @classmethod
    def settings(cls, section: object) -> tuple[Any, Any]:
        """The `Config` of a `handler:` section, and the `Options` of requests that say nothing.

        Raises:
            SchemaError: the section says something that isn't allowed.
        """
        config = parse(cls.Config, section, where="the handler section")
        return config, parse(cls.Options, config.defaults or {}, where="handler.defaults")

    def configure(self, section: object, folder: Path) -> None:
        """Take the `handler:` section and the task's own files; no model and no threads yet.

        Raises:
            LoadError: the section says something that isn't allowed, or a file is wrong.
        """
        try:
            self.config, self.default_options = self.settings(section)
        except SchemaError as error:
            raise LoadError(str(error)) from None
        self.setup(folder)

    def _warm_up(self) -> None:
        media_type, body = self.example()
        for size in sorted({1, self.batch_size}):
            began = time.monotonic()
            for run in range(1, WARM_UP_RUNS[1] + 1):
                rows = [Exchange({"body": body}, {"body": media_type}) for _ in range(size)]
                self.answer_all(rows)
                for row in rows:
                    if row.status != HTTPStatus.OK:
                        raise LoadError(f"its own example request failed: {row.body!r}")
                if run >= WARM_UP_RUNS[0] and time.monotonic() - began > WARM_UP_SECONDS:
                    break

    # -- Answering ----------------------------------------------------------------------------

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """Answer a batch. Nothing that a client sends makes it raise.

        Args:
            data: parameter names to values, for each row.
            context: TorchServe's; every row's status and content type are set on it.

        Returns:
            A body for each row, JSON unless the client accepts what else the task can write.
        """
        headers = [context.get_all_request_header(index) for index in range(len(data))]
        exchanges = [self._open(*each) for each in zip(data, headers, strict=True)]
        try:
            self.metrics.report(self.answer_all(exchanges))
        except Exception as error:  # the last resort: TorchServe would fail the whole batch
            for exchange in exchanges:
                if exchange.open:
                    exchange.fail(error)
        for index, exchange in enumerate(exchanges):
            self._say(context, index, exchange)
        return [exchange.body or b"" for exchange in exchanges]

    def _say(self, context: Any, index: int, exchange: Exchange) -> None:
        # ASCII only: TorchServe miscounts any other phrase, and the worker hangs for good.
        phrase = HTTPStatus(exchange.status).phrase
        context.set_response_status(exchange.status, phrase, index)
        context.set_response_content_type(index, exchange.media_type)
        if exchange.grpc:
            # A worker whose answer to a stream doesn't say that it is the last is ended by
            # TorchServe.
            context.set_response_header(index, "ts_stream_next", "false")

    def _open(self, row: Mapping[str, Any], headers: Mapping[str, Any]) -> Exchange:
        media_types = {
            name: (headers[name] or {}).get("content-type") or ""
            for name in row
            if isinstance(headers.get(name), dict)
        }
        sent = {name.lower(): str(value) for name, value in headers.items()}
        exchange = Exchange(
            row,
            media_types,
            accept=sent.get("accept", ""),
            explain=headers.get("explain") == "True",
            json_length=sent.get(binary_tensors.HEADER),
            grpc=all(isinstance(value, dict) for value in headers.values()),
        )
        if headers.get("describe") == "True":
            try:
                exchange.body = payload.dump(self.describe())
            except Exception as error:  # as in _read
                exchange.fail(error)
        elif exchange.explain and not isinstance(self, Explainer):
            exchange.fail(BadRequest(f"{self.config.task} gives no explanations"))
        return exchange

    def answer_all(self, exchanges: Sequence[Exchange]) -> Batch:
        """Answer every open exchange: read, decode, run in batches, write.

        Returns:
            What it took.
        """
        batch = Batch()
        self.until = time.monotonic() + self.seconds
        with batch.stage("PreprocessTime"):
            self.preprocess(exchanges)
        # What takes long comes last, and takes no other request's time: explanations, and
        # requests of many instances.
        in_turn = sorted(exchanges, key=lambda each: (each.explain, len(each.samples)))
        samples = [sample for exchange in in_turn for sample in exchange.samples]

        def predict(group: Sequence[Sample]) -> Sequence[payload.Answer]:
            self._check_time()
            with batch.stage("InferenceTime"):
                inputs = self.collate(group)
                outputs = self.inference(inputs)
                if isinstance(self, Explainer) and self._explains(group[0]):
                    return list(self.explain_batch(inputs, outputs, group, self._check_time))
            with batch.stage("PostprocessTime"):
                return self.postprocess(outputs, group)

        def key(sample: Sample) -> Any:
            own = self.group_key(sample)
            return (sample.options, own) if self._explains(sample) else own

        answers = iter(batching.run(samples, predict, key=key, limit=max(1, self.batch_size)))
        with batch.stage("PostprocessTime"):
            for exchange in in_turn:
                exchange.answers = exchange.take([next(answers) for _ in exchange.samples])
                self._finish(exchange)
        batch.counts["Instances"] = len(samples)
        batch.counts["RefusedRequests"] = sum(400 <= e.status < 500 for e in exchanges)
        batch.counts["FailedRequests"] = sum(e.status >= 500 for e in exchanges)
        return batch

    def preprocess(self, exchanges: Sequence[Exchange]) -> None:
        """Read every row and decode its instances; refuse, alone, what can't be."""
        for exchange in exchanges:
            if exchange.open:
                self._read(exchange)
        decoded = iter(self._decode_all([job for each in exchanges for job in each.jobs]))
        for exchange in exchanges:
            exchange.samples = exchange.take([next(decoded) for _ in exchange.jobs])

    def _read(self, exchange: Exchange) -> None:
        try:
            self._check_time()
            allowed, defaults = self.Options, self.config.defaults or {}
            exchange.options = self.default_options
            if exchange.explain and isinstance(self, Explainer):
                explanations.check()
                allowed, defaults = self.ExplainOptions, {}
                exchange.options = allowed()
            names = [field.name for field in dataclasses.fields(allowed)]
            request = exchange.read(names, self.config.max_instances, self.parts)
            self.screen(request.instances)
            if request.options:
                options = {**defaults, **request.options}
                exchange.options = parse(
                    allowed, options, where="the options", text=request.textual
                )
        except SchemaError as error:
            exchange.fail(BadRequest(str(error), status=422))
        except Exception as error:  # a bug of ours must not reach the neighbours
            exchange.fail(error)

    def _decode_all(self, jobs: Sequence[tuple[Any, Any]]) -> list[Sample | HandlerError]:
        size = sum(len(instance) for instance, _ in jobs if isinstance(instance, (bytes, str)))
        if self.pool and len(jobs) > 1 and size >= PARALLEL_BYTES:
            return list(self.pool.map(self._decode, jobs))
        return [self._decode(job) for job in jobs]

    def _decode(self, job: tuple[Any, Any]) -> Sample | HandlerError:
        try:
            self._check_time()
            return self.decode(*job)
        except HandlerError as error:
            return error
        except Exception as error:  # as in _read
            return unexpected(error)

    def _check_time(self) -> None:
        # TorchServe kills a worker at its responseTimeout, and with it all that it was asked.
        if time.monotonic() > self.until:
            raise ModelError("there was no time left for this", hint="send less", status=503)

    def inference(self, batch: Tensors) -> Tensors:
        """Run the model on named tensors, the batch first; its outputs are on the CPU."""
        try:
            return self.runtime(batch)
        except RuntimeError:
            device.exit_if_lost(self.device)
            raise

    def postprocess(self, outputs: Tensors, samples: Sequence[Sample]) -> Sequence[payload.Answer]:
        """One answer per sample; see `answer`."""
        with torch.inference_mode():
            return self.answer(outputs, samples)

    def _explains(self, sample: Sample) -> bool:
        return isinstance(self, Explainer) and isinstance(sample.options, self.ExplainOptions)

    def _finish(self, exchange: Exchange) -> None:
        if not exchange.open:
            return
        try:
            name, version = self.context.model_name, self.manifest["model"]["modelVersion"]
            exchange.finish(name, version, self.config.max_answer_bytes)
        except Exception as error:  # as in _read
            exchange.fail(error)

    def describe(self) -> dict[str, Any]:
        """What this model takes and answers, from the definitions that validate requests."""
        media_type, body = self.example()
        return {
            "task": self.config.task,
            "runtime": self.config.runtime,
            "precision": self.config.precision,
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            **interface.of(self),
            "example": {"content_type": media_type, "body_base64": b64encode(body).decode("ascii")},
        }


def _positive(value: object, otherwise: int) -> int:
    # TorchServe, too, ignores a setting that is no integer.
    return value if isinstance(value, int) and value > 0 else otherwise
