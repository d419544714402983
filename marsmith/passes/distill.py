"""Trains a smaller model to answer as the larger one does.

See: G. Hinton, O. Vinyals and J. Dean, Distilling the Knowledge in a Neural Network, 2015,
arXiv:1503.02531.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import Field
from torch import nn
from torch.nn.functional import kl_div, log_softmax

from handlers.runtimes.eager import ModuleRuntime, Outputs, named
from marsmith.arguments import order
from marsmith.errors import BuildError
from marsmith.passes import Work, size
from marsmith.recipe.references import resolve
from marsmith.recipe.sections import Reference, Source, TrainedPass
from marsmith.sources import factory
from marsmith.training.fit import fit, planned
from marsmith.training.loop import Loss

CPU = torch.device("cpu")


class Distill(TrainedPass):
    """The module is the teacher; the student replaces it."""

    student: Reference
    """Returns the untrained student: an `nn.Module` with the teacher's inputs and outputs."""
    arguments: dict[str, object] = {}
    """What the student's function is called with, by name."""
    temperature: float = Field(4.0, gt=0)
    """Of the softmax of both; higher ones show more of the teacher's less likely classes."""
    hard_weight: float = Field(0.1, ge=0, le=1)
    """The share of the recipe's own loss, against the targets."""
    epochs: int | None = Field(None, ge=1)
    """Of the smaller model's training; by default the `training:` section's."""

    def apply(self, module: nn.Module, work: Work) -> tuple[nn.Module, dict[str, object]]:
        """Train a student, from random weights that follow from the training's seed.

        Raises:
            BuildError: teacher and student differ in their inputs or outputs, the outputs aren't
                one tensor of scores of classes, or there is nothing to train.
        """
        training = planned(self, work.training)
        assert training is not None  # noqa: S101 - there is always an epoch
        with torch.random.fork_rng([]):
            torch.manual_seed(training.seed)
            student = resolve(self.student)(**self.arguments)
        if not isinstance(student, nn.Module):
            raise BuildError(f"{self.student} returned {type(student).__name__}, not an nn.Module")
        taught, taken = list(work.batch), order(student, list(work.batch))
        if taken != taught:
            raise BuildError(
                f"the student takes {', '.join(taken)}, and the teacher {', '.join(taught)}; the "
                "data that they learn from is given to both by position",
                "let the student's forward take them in the teacher's order",
            )
        student.eval()
        before, after = (_scores(each, work) for each in (module, student))
        if before != after:
            raise BuildError(f"the teacher's scores are {before}, and the student's {after}")
        loss = self._loss(module, resolve(training.loss))
        report = fit(student, training, work.cache, work.key, work.say, loss=loss)
        module.to(CPU)  # where it was before it taught
        before_after = {"before": size(module, work.batch), "after": size(student, work.batch)}
        return student, {**before_after, **report}

    def _loss(self, teacher: nn.Module, hard: Callable[[object, object], torch.Tensor]) -> Loss:
        def loss(outputs: Outputs, inputs: tuple[object, ...], targets: object) -> torch.Tensor:
            scores = named(outputs)["output"]
            teacher.to(scores.device)
            with torch.no_grad():
                taught = named(teacher(*inputs))["output"]
                wanted = log_softmax(taught / self.temperature, 1)
            given = log_softmax(scores / self.temperature, 1)
            apart = kl_div(given, wanted, reduction="none", log_target=True).sum(1).mean()
            # Gradients of the soft targets shrink with the square of the temperature.
            soft = apart * self.temperature**2
            mixed = soft * (1 - self.hard_weight)
            return mixed + self.hard_weight * hard(outputs, targets) if self.hard_weight else mixed

        return loss

    def source(self, before: Source) -> Source:
        """The student's function, as the source of the result."""
        return factory.Factory(factory=self.student, arguments=self.arguments)


def _scores(module: nn.Module, work: Work) -> tuple[int, ...]:
    """The shape of a module's output for the batch."""
    outputs = ModuleRuntime(module, CPU)(work.batch)
    if list(outputs) != ["output"] or outputs["output"].ndim < 2:
        raise BuildError(
            "distill needs models that return one tensor, with the scores of classes in its"
            f" dimension 1; {type(module).__name__} returned {list(outputs)}"
        )
    return tuple(outputs["output"].shape)
