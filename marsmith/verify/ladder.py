"""The ladder: original -> after passes -> folded -> each candidate -> archived -> served.

Candidates are compared with the model that they were converted from, on the same inputs. Archives
are compared, loaded or served, with the answers of the candidate in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from handlers.base import Handler
from handlers.device import CPU
from handlers.errors import HandlerError
from handlers.protocols.json_text import JSON
from handlers.runtimes import Runtime, Tensors
from marsmith.archive.reading import pinned
from marsmith.causes import own_place
from marsmith.client.comparison import difference
from marsmith.errors import BuildError, GateError
from marsmith.harness.wire import Request, Response
from marsmith.harness.worker import Harness
from marsmith.recipe.sections import Accept, Evaluation
from marsmith.report.measurements import Difference, Rung
from marsmith.serving import server
from marsmith.verify import metrics
from marsmith.verify.batches import Batches
from marsmith.verify.difference import compare
from marsmith.verify.evaluation import load_data, read

ANSWER_TIMEOUT_S = 300
HINT = "the model must take what the settings in `handler:` make of the data"
PASSES = "passes"
SMALL_BATCH_SAMPLES = 64  # the rest is compared at the largest batch size alone
ANSWER_TOLERANCE = 1e-4  # a request's position in its batch shows in the last bits


Answers = dict[int, list[object]]
"""Answers by batch size, to the samples in their order, as JSON data."""


class Ladder:
    """Verifies one model, rung by rung, on the same data.

    Args:
        handler: configured for the recipe; decodes and answers exactly as it will when served.
        evaluation: the recipe's; None to compare on the handler's example alone.
        batch_size: the largest batch that will be served.
        device: where the models run that are measured.

    Raises:
        BuildError: the evaluation data can't be decoded, or there is none.
    """

    def __init__(
        self,
        handler: Handler[Any, Any, Any],
        evaluation: Evaluation | None,
        batch_size: int,
        device: torch.device = CPU,
    ) -> None:
        self.handler, self.batch_size, self.device = handler, batch_size, device
        named = evaluation.metric if evaluation else None
        self.metric = metrics.find(named) if named else None
        self.data = load_data(handler, evaluation)
        exchanges = read(handler, self.data.bodies, "evaluation", self.data.media_type)
        self.instances = [exchange.instances[0] for exchange in exchanges]
        self.batches = Batches(handler, [exchange.samples[0] for exchange in exchanges])
        self.batch_sizes = tuple(sorted({1, min(3, batch_size), batch_size}))
        self.reference: list[Tensors] = []

    def measure(self, name: str, runtime: Runtime, *, refer: bool = False) -> tuple[Rung, Answers]:
        """Compare a runtime's outputs with the reference's, at every batch size.

        Args:
            name: the rung's.
            runtime: the model to measure.
            refer: make it the reference, which all later ones are compared with.

        Returns:
            The rung, and its answers by batch size.

        Raises:
            BuildError: it fails on the data, or its outputs have names or shapes that the
                reference's don't have.
        """
        if refer:
            self.reference = []
        self.handler.use(runtime, batch_size=self.batch_size, device=self.device)
        samples = self.batches.samples
        worst: dict[str, Difference] = {}
        answers: Answers = {
            size: [None] * min(self._enough(size), len(samples)) for size in self.batch_sizes
        }
        for turn, (size, members) in enumerate(self.plan()):
            batch = [samples[index] for index in members]
            try:
                outputs = self.handler.inference(self.handler.collate(batch))
                if refer:
                    self.reference.append(outputs)
                here = compare(outputs, self.reference[turn])
                given = self.handler.answer(outputs, batch)
            except (HandlerError, RuntimeError, ValueError) as problem:
                said = f"the {name} model fails on the data: {problem}{own_place(problem)}"
                hint = problem.hint if isinstance(problem, HandlerError) else ""
                raise BuildError(said, hint or HINT) from problem
            worst = {k: d.worst(worst.get(k, Difference())) for k, d in here.items()}
            for index, answer in zip(members, given, strict=True):
                answers[size][index] = answer.to_json()
        overall = Difference()
        for each in worst.values():
            overall = overall.worst(each)
        whole = answers[max(self.batch_sizes)]
        alone = answers[min(self.batch_sizes)]
        spread = difference(alone, whole[: len(alone)])
        sizes = self.batch_sizes
        rung = Rung(name, self._score(whole), overall, worst, sizes, len(whole), spread)
        return rung, answers

    def plan(self) -> list[tuple[int, list[int]]]:
        """The batches that are measured: how large they may be, and the places of their samples.

        All samples at the largest size, which comes last; at others enough to see a difference.
        """
        return [(n, b) for n in self.batch_sizes for b in self.batches.served(self._enough(n), n)]

    def archived(self, archive: Path, rung: Rung, expected: Answers) -> Rung:
        """Load the finished archive in a fresh interpreter and compare its answers.

        Args:
            archive: a `.mar`.
            rung: of the candidate in it.
            expected: that candidate's answers.

        Raises:
            ArchiveError: it doesn't load.
            BuildError: it refuses what it should answer.
            GateError: it answers something else.
        """
        with Harness(archive, env={"PYTHONPATH": ""}, timeout_s=ANSWER_TIMEOUT_S) as harness:

            def ask(bodies: Sequence[bytes]) -> list[object]:
                requests = [Request.raw(body, self.data.media_type) for body in bodies]
                return [_answer(response) for response in harness.predict(requests)]

            return self._answered("archived", ask, rung, expected)

    def served(self, archive: Path, rung: Rung, expected: Answers) -> Rung:
        """Serve the finished archive with TorchServe and compare its answers to real requests.

        Args:
            archive: a `.mar`.
            rung: of the candidate in it.
            expected: that candidate's answers.

        Raises:
            ServerError: TorchServe doesn't start, or the model in it.
            GateError: it answers something else.
        """
        # Nobody can have signed what was made just now: its digest says that it is this one.
        made = str(pinned(archive))
        info = server.serve(made, port=0, trust=None, timeout_s=ANSWER_TIMEOUT_S)
        try:
            with (
                server.client(info, timeout_s=ANSWER_TIMEOUT_S) as client,
                ThreadPoolExecutor(max(self.batch_sizes)) as pool,
            ):

                def ask(body: bytes) -> object:
                    kind = self.data.media_type
                    return client.predict(archive.stem, body, content_type=kind, accept=JSON)

                return self._answered(
                    "served", lambda bodies: pool.map(ask, bodies), rung, expected
                )
        finally:
            server.stop(info)

    def _answered(
        self,
        name: str,
        ask: Callable[[Sequence[bytes]], Iterable[object]],
        rung: Rung,
        expected: Answers,
    ) -> Rung:
        worst = 0.0
        answers: list[object] = []
        for size in self.batch_sizes:
            bodies = self.data.bodies[: self._enough(size)]
            answers = []
            for start in range(0, len(bodies), size):
                answers += ask(bodies[start : start + size])
            # A server forms batches in its own way; answers may differ by as much as that changes.
            allowed = ANSWER_TOLERANCE if size == 1 else max(ANSWER_TOLERANCE, rung.spread)
            error = difference(answers, expected[size])
            if not error <= allowed:
                raise GateError(
                    f"the {name} model's answers differ by {error:.3g} from those before "
                    f"packaging, in batches of {size}; {allowed:.3g} is allowed",
                    "make its answers depend on the request alone",
                )
            worst = max(worst, error)
        score = self._score(answers)
        return Rung(name, score, Difference(worst), {}, self.batch_sizes, len(answers))

    def _enough(self, size: int) -> int:
        return len(self.batches.samples) if size == max(self.batch_sizes) else SMALL_BATCH_SAMPLES

    def _score(self, answers: list[object]) -> float | None:
        if self.metric is None or self.data.expected is None:
            return None
        value = self.metric(answers, self.data.expected)
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise BuildError(
                f"the metric gave {value!r}, which is no number",
                "its function returns a float, and a higher one is better",
            ) from error


def _answer(response: Response) -> object:
    if response.status != 200:
        raise BuildError(f"the archive answered {response.status}: {response.body[:500]!r}")
    return response.json()


def gate(rung: Rung, original: Rung, accept: Accept) -> None:
    """Refuse a rung that misses a bound.

    A pass is meant to change outputs: where there is a metric, only the metric counts for it.

    Raises:
        GateError: the rung missed bounds; the message lists each with its number.
    """
    missed = []
    if rung.metric is not None and original.metric is not None:
        if accept.metric_at_least is not None and not rung.metric >= accept.metric_at_least:
            missed.append(f"metric {rung.metric:.4f} < metric_at_least {accept.metric_at_least}")
        drop = original.metric - rung.metric
        if not drop <= accept.metric_max_drop:
            missed.append(f"metric drop {drop:.4f} > metric_max_drop {accept.metric_max_drop}")
    if rung.outputs and (rung.name != PASSES or rung.metric is None):
        error, cosine = rung.difference.max_abs_error, rung.difference.min_cosine
        if accept.max_abs_error is not None and not error <= accept.max_abs_error:
            missed.append(f"error {error:.3g} > max_abs_error {accept.max_abs_error}")
        if not cosine >= accept.min_cosine:
            missed.append(f"cosine {cosine:.4f} < min_cosine {accept.min_cosine}")
    if missed:
        raise GateError(
            f"the {rung.name} model was refused: {'; '.join(missed)}",
            "mend the model, or the bounds in 'accept'",
        )
