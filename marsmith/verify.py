"""The ladder: original -> converted -> archived. Each rung is compared with the original."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from handlers.base import Handler
from handlers.batching import Sample
from handlers.errors import HandlerError
from handlers.runtimes import Runtime, Tensors
from marsmith import metrics
from marsmith.errors import BuildError, GateError
from marsmith.harness import Harness
from marsmith.recipe import Accept, Evaluation
from marsmith.references import resolve
from marsmith.wire import Request, Response

ANSWER_TIMEOUT_S = 300
ANSWER_TOLERANCE = 1e-4  # a request's place in its batch shows in the last bits


@dataclass(frozen=True)
class Data:
    """What a model is verified on.

    Attributes:
        bodies: request bodies, as a client sends them.
        media_type: of the bodies, "" for raw bytes of no stated type.
        expected: the right answers; None when there are none, and nothing but the
            handler's own example to compare on.
    """

    bodies: Sequence[bytes]
    media_type: str
    expected: Sequence[Any] | None


@dataclass(frozen=True)
class Rung:
    """What was measured of the model in one form.

    Attributes:
        name: "original", "converted" or "archived".
        metric: the recipe's metric; None without evaluation data.
        max_abs_error: the largest difference from the original's outputs (converted) or from
            the converted model's answers (archived); 0 for the original.
        min_cosine: the smallest similarity of a sample's outputs to the original's; None for
            the archived, whose outputs nobody sees.
        batch_sizes: the batch sizes that were compared.
        samples: how many samples were.
    """

    name: str
    metric: float | None
    max_abs_error: float
    min_cosine: float | None
    batch_sizes: tuple[int, ...]
    samples: int


class Ladder:
    """Verifies one model, rung by rung, on the same data.

    Args:
        handler: configured for the recipe; decodes and answers exactly as it will when served.
        evaluation: the recipe's; None compares on the handler's example alone.
        batch_size: the largest batch that will be served.

    Raises:
        BuildError: the evaluation data can't be decoded, or there is none of it.
    """

    def __init__(
        self, handler: Handler[Any], evaluation: Evaluation | None, batch_size: int
    ) -> None:
        self.handler = handler
        self.metric = metrics.find(evaluation.metric) if evaluation else None
        self.data = load_data(handler, evaluation)
        self.samples = [self._decode(index) for index in range(len(self.data.bodies))]
        self.batch_sizes = tuple(sorted({1, batch_size}))

    def _decode(self, index: int) -> Sample:
        try:
            return self.handler.decode(self.data.bodies[index], self.handler.default_options)
        except HandlerError as error:
            raise BuildError(f"evaluation item {index} can't be decoded: {error}") from error

    def first_batch(self) -> Tensors:
        """One sample as a batch of inputs, for converters that need to see one."""
        return self.handler.collate(self.samples[:1])

    def measure(self, name: str, runtime: Runtime, original: Runtime) -> tuple[Rung, list[Any]]:
        """Compare a runtime's outputs with the original's, at every batch size.

        Returns:
            The rung, and its answers as JSON data.
        """
        error, cosine = 0.0, 1.0
        answers: list[Any] = [None] * len(self.samples)
        for size in self.batch_sizes:
            for members in self._batches(size):
                batch = [self.samples[index] for index in members]
                try:
                    inputs = self.handler.collate(batch)
                    outputs = runtime(inputs)
                    error_here, cosine_here = compare(outputs, original(inputs))
                    given = self.handler.answer(outputs, batch)
                except (HandlerError, RuntimeError) as problem:
                    raise BuildError(f"the {name} model fails on the data: {problem}") from problem
                error, cosine = max(error, error_here), min(cosine, cosine_here)
                for index, answer in zip(members, given, strict=True):
                    answers[index] = answer.to_json()
        rung = Rung(name, self._score(answers), error, cosine, self.batch_sizes, len(self.samples))
        return rung, answers

    def archived(self, archive: Path, converted: list[Any]) -> Rung:
        """Load the finished archive in a fresh interpreter and compare its answers.

        Raises:
            ArchiveError: it doesn't load.
            BuildError: it refuses what it should answer.
            GateError: it answers something else.
        """
        error = 0.0
        answers: list[Any] = []
        with Harness(archive, env={"PYTHONPATH": ""}, timeout_s=ANSWER_TIMEOUT_S) as harness:
            for size in self.batch_sizes:
                answers = []
                for start in range(0, len(self.data.bodies), size):
                    bodies = self.data.bodies[start : start + size]
                    requests = [Request.raw(body, self.data.media_type) for body in bodies]
                    answers += [_answer(response) for response in harness.predict(requests)]
                error = max(error, difference(answers, converted))
        if error > ANSWER_TOLERANCE:
            raise GateError(
                f"the archive's answers differ by {error:.3g} from the converted model's; "
                f"{ANSWER_TOLERANCE} is allowed",
                "a task whose answers depend on more than the request can't be verified",
            )
        return Rung("archived", self._score(answers), error, None, self.batch_sizes, len(answers))

    def _batches(self, size: int) -> list[list[int]]:
        """The samples' numbers, in batches of one shape and at most `size`."""
        groups: dict[Any, list[int]] = {}
        for index, sample in enumerate(self.samples):
            groups.setdefault(self.handler.group_key(sample), []).append(index)
        return [g[i : i + size] for g in groups.values() for i in range(0, len(g), size)]

    def _score(self, answers: list[Any]) -> float | None:
        if self.metric is None or self.data.expected is None:
            return None
        return float(self.metric(answers, self.data.expected))


def _answer(response: Response) -> Any:
    if response.status != 200:
        raise BuildError(f"the archive answered {response.status}: {response.body[:500]!r}")
    return response.json()


def load_data(handler: Handler[Any], evaluation: Evaluation | None) -> Data:
    """The recipe's evaluation data, or the handler's example when it has none.

    Raises:
        BuildError: the data function didn't return (body, expected) pairs.
    """
    if evaluation is None:
        media_type, body = handler.example()
        return Data([body], media_type, None)
    pairs = list(resolve(evaluation.data)())
    if not pairs or not all(
        isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], bytes) for p in pairs
    ):
        raise BuildError(f"{evaluation.data} must return (request body: bytes, expected) pairs")
    return Data([body for body, _ in pairs], "", [expected for _, expected in pairs])


def compare(outputs: Tensors, reference: Tensors) -> tuple[float, float]:
    """The largest absolute difference of any output, and the smallest cosine of any sample.

    Raises:
        BuildError: the outputs differ in name or shape.
    """
    if [t.shape for t in outputs.values()] != [t.shape for t in reference.values()]:
        shapes, expected = (
            {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            for tensors in (outputs, reference)
        )
        raise BuildError(f"the outputs are {shapes}, the original's {expected}")
    error, cosine = 0.0, 1.0
    for output, wanted in zip(outputs.values(), reference.values(), strict=True):
        mine, its = (t.double().reshape(len(t), -1) for t in (output, wanted))
        # A NaN is as wrong as can be; `max` and `min` would lose it.
        error = max(error, float((mine - its).abs().nan_to_num(nan=math.inf).max()))
        angles = torch.cosine_similarity(mine, its).nan_to_num(nan=-1.0)
        angles[(mine == its).all(dim=1)] = 1.0  # of zeros, too
        cosine = min(cosine, float(angles.min()))
    return error, cosine


def difference(answers: Any, expected: Any) -> float:
    """The largest difference of any number in two JSON values; infinite where they differ else."""
    if (
        isinstance(answers, dict)
        and isinstance(expected, dict)
        and answers.keys() == expected.keys()
    ):
        return max((difference(answers[key], expected[key]) for key in answers), default=0.0)
    if isinstance(answers, list) and isinstance(expected, list) and len(answers) == len(expected):
        pairs = zip(answers, expected, strict=True)
        return max((difference(one, other) for one, other in pairs), default=0.0)
    if isinstance(answers, (int, float)) and isinstance(expected, (int, float)):
        return abs(answers - expected)
    return 0.0 if answers == expected else float("inf")


def gate(rung: Rung, original: Rung, accept: Accept) -> None:
    """Refuse a rung that misses a bound.

    Raises:
        GateError: which number missed which bound, all of them.
    """
    missed = []
    if rung.metric is not None and original.metric is not None:
        if accept.metric_at_least is not None and not rung.metric >= accept.metric_at_least:
            missed.append(f"metric {rung.metric:.4f} < metric_at_least {accept.metric_at_least}")
        drop = original.metric - rung.metric
        if not drop <= accept.metric_max_drop:
            missed.append(f"metric drop {drop:.4f} > metric_max_drop {accept.metric_max_drop}")
    if accept.max_abs_error is not None and not rung.max_abs_error <= accept.max_abs_error:
        missed.append(f"error {rung.max_abs_error:.3g} > max_abs_error {accept.max_abs_error}")
    if rung.min_cosine is not None and not rung.min_cosine >= accept.min_cosine:
        missed.append(f"cosine {rung.min_cosine:.4f} < min_cosine {accept.min_cosine}")
    if missed:
        raise GateError(
            f"the {rung.name} model was refused: {'; '.join(missed)}",
            "nothing was written; mend the model, or the bounds in 'accept'",
        )
