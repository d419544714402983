"""The life of a worker, written once: load, warm up, and answer batch after batch."""

from __future__ import annotations

import gc
import logging
import math
import os
import time
from base64 import b64encode
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch

from handlers import batching, cpu, device, explanations, interface, logs, runtimes, tracing
from handlers.device import CPU
from handlers.errors import RAISED, BadRequest, HandlerError, LoadError, ModelError, unexpected
from handlers.explanations import Explainer
from handlers.protocols import json_text
from handlers.protocols.exchange import Exchange
from handlers.runtimes import Tensors
from handlers.task import Answer, C, M, O, Sample, Task
from handlers.telemetry import BatchMetrics, Telemetry
from handlers.torchserve import BaseHandler, Context, leave_bodies, quieten, read_ahead
from handlers.warm_up import warm_up

logger = logging.getLogger(__name__)

PATIENCE = 0.7  # the share of TorchServe's responseTimeout that one batch may take
# Torch's oneDNN keeps the last 1024 primitives that it made, each for one layer and one shape. Of a
# small model of sound they came to 135 MiB, and 256 to 40, for a twentieth more of the CPU's time.
FEW_PRIMITIVES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
PARALLEL_BYTES = 32_768  # below this, handing a batch to the decode pool costs more than it saves


class Handler(Task[C, O, M], BaseHandler):  # type: ignore[misc]  # ts has no types
    """A TorchServe handler: a task, and the worker that serves it.

    A task subclasses it and implements what is abstract in `Task`. A task that explains its
    answers is an `explanations.Explainer`, too.

    Attributes:
        continuous: whether it can serve under TorchServe's continuous batching.
        runtime: the model; named tensors in, named tensors out.
        batch_size: the most samples in a batch, and the most rows that the model is run on.
    """

    continuous: ClassVar[bool] = False

    runtime: runtimes.Runtime
    batch_size = 1
    device = CPU
    model_name, model_version = "model", "1.0"
    seconds = until = math.inf
    pool: ThreadPoolExecutor | None = None
    telemetry: Telemetry | None = None
    tracing: tracing.Tracing | None = None

    def explainer(self) -> Explainer[M] | None:
        """What explains the task's answers; None where nothing does."""
        return None

    # -- Loading ------------------------------------------------------------------------------

    def initialize(self, context: Context) -> None:
        """Load the model and warm it up: the first request is as fast as any.

        Raises:
            LoadError: the configuration, a file or the model is wrong.
        """
        try:
            self._load(context)
        except (RuntimeError, MemoryError):
            raise
        except RAISED as error:  # any other would end the worker without a word
            raise LoadError(f"{type(error).__name__}: {error}") from error

    def _load(self, context: Context) -> None:
        folder = Path(context.system_properties["model_dir"])
        served, model = context.model_yaml_config or {}, context.manifest["model"]
        self.context, self.manifest = context, context.manifest
        self.model_name, self.model_version = context.model_name, model["modelVersion"]
        logs.begin(self.model_name, self.model_version)
        self.configure(served.get("handler", {}), folder)
        where = device.choose(context.system_properties.get("gpu_id"))
        for warning in cpu.warnings(self.config.instructions):
            logger.warning("%s: %s", self.model_name, warning)
        workers = _positive(served.get("minWorkers"), 1)
        threads = self.config.threads or device.share(self.model_name, workers)
        torch.set_num_threads(threads)
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self.telemetry = Telemetry(context.model_name)
        self.tracing = tracing.begin(context.model_name)
        if self.varying_axes():
            os.environ.setdefault(*FEW_PRIMITIVES)  # it is read when the first is made
        file, options = folder / str(model.get("serializedFile")), self.config.runtime_options or {}
        self.use(
            runtimes.load(self.config.runtime, file, where, options),
            batch_size=int(context.system_properties.get("batch_size") or 1),
            device=where,
            seconds=PATIENCE * _positive(served.get("responseTimeout"), 120),
        )
        quieten()
        leave_bodies()
        read_ahead()
        warm_up(self.answer_all, self.example(), (1, self.batch_size))
        gc.collect()
        gc.freeze()  # what is loaded stays: scanning it again and again would stall requests
        self.initialized = True

    def use(
        self,
        runtime: runtimes.Runtime,
        *,
        batch_size: int = 1,
        device: torch.device = CPU,
        seconds: float = math.inf,
    ) -> None:
        """Take a model to answer with.

        Args:
            runtime: the model.
            batch_size: the most samples in a batch, and the most rows that it is run on.
            device: where it runs.
            seconds: the most time for one batch of requests.
        """
        self.runtime, self.batch_size = runtime, max(1, batch_size)
        self.device, self.seconds = device, seconds

    # -- Answering ----------------------------------------------------------------------------

    def handle(self, data: Sequence[Mapping[str, object]], context: Context) -> list[bytes]:
        """Answer a batch. Nothing that a client sends makes it raise.

        Args:
            data: parameter names to values, for each row.
            context: TorchServe's; every row's status and content type are set on it.

        Returns:
            A body for each row, JSON unless the client accepts what else the task can write.
        """
        headers = [context.get_all_request_header(index) for index in range(len(data))]
        exchanges = [self.begin(*each) for each in zip(data, headers, strict=True)]
        logs.about(exchange.request_id for exchange in exchanges)
        try:
            batch = self.answer_all(exchanges)
            if self.telemetry:
                self.telemetry.report(batch)
            if self.tracing:
                self.tracing.report(batch.spans, exchanges)
        except RAISED as error:  # the last resort: TorchServe would fail the whole batch
            for exchange in exchanges:
                if exchange.open:
                    exchange.fail(error)
        for index, exchange in enumerate(exchanges):
            exchange.set_headers(context, index)
        return [exchange.body or b"" for exchange in exchanges]

    def begin(self, row: Mapping[str, object], headers: Mapping[str, object]) -> Exchange:
        """Take a row; answer at once when it asks for a description, or for what isn't there."""
        exchange = Exchange.begin(row, headers, self.model_name)
        if exchange.describe:
            try:
                exchange.body = json_text.dump(self.describe())
            except RAISED as error:  # as in read
                exchange.fail(error)
        elif exchange.explain and not self.explainer():
            exchange.fail(BadRequest(f"{self.config.task} gives no explanations"))
        return exchange

    def answer_all(self, exchanges: Sequence[Exchange]) -> BatchMetrics:
        """Answer every open exchange: read, decode, run in batches, write.

        Returns:
            The time that it took, and the counts.
        """
        batch = BatchMetrics(timed=self.tracing is not None)
        self.until = time.monotonic() + self.seconds
        with batch.stage("PreprocessTime"):
            self.read_all(exchanges)
        # What takes long comes last, so that no other request waits for it: explanations, and
        # requests of many instances.
        in_turn = sorted(exchanges, key=lambda each: len(each.samples))
        for explain in (False, True):
            chosen = [each for each in in_turn if each.explain == explain]
            answers = iter(self._run(chosen, batch, explain))
            with batch.stage("PostprocessTime"):
                for exchange in chosen:
                    exchange.answers = exchange.take([*islice(answers, len(exchange.samples))])
                    self.finish(exchange)
            batch.counts["Instances"] += sum(len(each.samples) for each in chosen)
        batch.counts["RefusedRequests"] = sum(400 <= e.status < 500 for e in exchanges)
        batch.counts["FailedRequests"] = sum(e.status >= 500 for e in exchanges)
        return batch

    def _run(
        self, exchanges: Sequence[Exchange], batch: BatchMetrics, explain: bool
    ) -> Sequence[Answer | HandlerError]:
        explainer = self.explainer() if explain else None
        samples: list[Sample[Any, M]] = [each for one in exchanges for each in one.samples]

        def predict(group: Sequence[Sample[Any, M]]) -> Sequence[Answer]:
            try:
                return answered_all(group)
            except RAISED as error:
                members = {id(sample) for sample in group}
                asked = (e for e in exchanges if any(id(s) in members for s in e.samples))
                logs.note(error, (exchange.request_id for exchange in asked))
                raise

        def answered_all(group: Sequence[Sample[Any, M]]) -> Sequence[Answer]:
            self.check_time()
            with batch.stage("InferenceTime"):
                inputs = self.collate(group)
                outputs = self.inference(inputs)
                if explainer:
                    return explainer.explain_batch(
                        self.runtime, inputs, outputs, group, self.check_time
                    )
            with batch.stage("PostprocessTime"), torch.inference_mode():
                return self.answer(outputs, group)

        def key(sample: Sample[object, M]) -> Hashable:
            own = self.group_key(sample)
            return (sample.options, own) if explainer else own

        answers: dict[int, Answer | HandlerError] = {}
        for turn in self.turns(samples):
            chosen = [samples[place] for place in turn]
            answered = batching.run(chosen, predict, key=key, limit=self.batch_size)
            answers.update(zip(turn, answered, strict=True))
        return [answers[place] for place in range(len(samples))]

    def read_all(self, exchanges: Sequence[Exchange]) -> None:
        """Read every row and decode its instances; refuse only the rows that can't be."""
        for exchange in exchanges:
            if exchange.open:
                self.read(exchange)
        jobs = [(each, instance) for each in exchanges for instance in each.instances]
        decoded = iter(self._decode_all(jobs))
        for exchange in exchanges:
            exchange.samples = exchange.take([*islice(decoded, len(exchange.instances))])

    def read(self, exchange: Exchange) -> None:
        """Read a row's instances and options; refuse it when it can't be."""
        try:
            self.check_time()
            explainer = self.explainer() if exchange.explain else None
            if explainer:
                explanations.check()
            exchange.read(self, explainer)
        except RAISED as error:  # a bug of ours must not reach the neighbours
            exchange.fail(error)

    def _decode_all(
        self, jobs: Sequence[tuple[Exchange, object]]
    ) -> list[Sample[Any, M] | HandlerError]:
        size = sum(len(instance) for _, instance in jobs if isinstance(instance, (bytes, str)))
        if self.pool and len(jobs) > 1 and size >= PARALLEL_BYTES:
            try:
                return list(self.pool.map(self._decode, jobs))
            except RuntimeError as error:  # no thread can be started, or somebody has ended them
                logger.warning("decoding one after the other: %s", error)
        return [self._decode(job) for job in jobs]

    def _decode(self, job: tuple[Exchange, object]) -> Sample[Any, M] | HandlerError:
        exchange, instance = job
        try:
            self.check_time()
            if exchange.explain:  # its options are an explanation's, not the task's
                sample = self.decode(instance, self.default_options)
                return Sample(sample.tensors, exchange.options, sample.meta)
            return self.decode(instance, exchange.options)
        except RAISED as error:  # as in read
            logs.note(error, [exchange.request_id])
            return unexpected(error)

    def check_time(self) -> None:
        """Check that there is time left for this batch of requests.

        Raises:
            ModelError: there is none; a 503.
        """
        # TorchServe kills a worker at its responseTimeout, and all its requests with it.
        if time.monotonic() > self.until:
            raise ModelError("there was no time left for this", hint="send less", status=503)

    def inference(self, batch: Tensors) -> Tensors:
        """Run the model on named tensors, on at most `batch_size` rows at once.

        Args:
            batch: the first dimension of each tensor is the batch.

        Returns:
            The model's outputs by name: on the CPU, if the inputs are there.
        """
        try:
            return batching.in_steps(self.runtime, batch, self.batch_size, self.check_time)
        except RuntimeError:
            device.exit_if_lost(self.device)
            raise

    def finish(self, exchange: Exchange) -> None:
        """Write the answers of a row, if it is still open."""
        if not exchange.open:
            return
        try:
            most = self.config.max_answer_bytes
            exchange.finish(self.model_name, self.model_version, most)
        except RAISED as error:  # as in read
            exchange.fail(error)

    def describe(self) -> dict[str, object]:
        """Describe what the model takes and answers, by the definitions that validate requests."""
        media_type, body = self.example()
        return {
            "task": self.config.task,
            "runtime": self.config.runtime,
            "precision": self.config.precision,
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            **interface.of(self, self.explainer()),
            "example": {"content_type": media_type, "body_base64": b64encode(body).decode("ascii")},
        }


def _positive(value: object, otherwise: int) -> int:
    # TorchServe, too, ignores a setting that is no integer.
    return value if isinstance(value, int) and value > 0 else otherwise
