"""Which of the admissible candidates is shipped, and why."""

from __future__ import annotations

from collections.abc import Callable

from marsmith.errors import GateError, MarsmithError
from marsmith.recipe import Recipe
from marsmith.timing import Timing
from marsmith.trials import ADMISSIBLE, FAILED, SHIPPED, Trial

Rank = Callable[[int, Timing], float]

# By objective, the figure that decides; the smallest is the best.
RANKS: dict[str, Rank] = {
    "latency": lambda _, timing: timing.p50_ms,
    "throughput": lambda _, timing: -timing.samples_per_s,
    "size": lambda size, _: size,
}


def choose(tried: list[Trial], recipe: Recipe, original: Timing) -> Trial:
    """Mark the best of the admissible as shipped, and say of each how it compares.

    Args:
        tried: in order, at least one of them admissible; of equals the first is chosen.
        recipe: its objective decides.
        original: what the speeds are compared with.

    """
    ranked = sorted(
        (RANKS[recipe.objective](trial.converted.size, trial.timing), place)
        for place, trial in enumerate(tried)
        if trial.status == ADMISSIBLE and trial.timing
    )
    for place, (_, number) in enumerate(ranked):
        trial = tried[number]
        trial.verdict = _compared(trial, original)
        if place == 0:
            trial.status = SHIPPED
            only = "the only one" if len(ranked) == 1 else f"best {recipe.objective}"
            trial.verdict = f"{only}: {trial.verdict}"
    return tried[ranked[0][1]]


def _compared(trial: Trial, original: Timing) -> str:
    if trial.timing is None:
        return ""
    faster = trial.timing.samples_per_s / original.samples_per_s
    sooner = original.p50_ms / trial.timing.p50_ms
    return f"{faster:.2f}× the original's throughput, {sooner:.2f}× its speed at batch 1"


def expect_some(tried: list[Trial]) -> None:
    """See that a candidate is left.

    Raises:
        BuildError: none is: what stopped the only one, or all of them.
    """
    if all(trial.status != ADMISSIBLE for trial in tried):
        raise _why_none(tried)


def _why_none(tried: list[Trial]) -> MarsmithError:
    if len(tried) == 1 and tried[0].error is not None:
        error = tried[0].error
        if tried[0].status == FAILED:
            error.hint = f"{error.hint}; " if error.hint else ""
            error.hint += f"what the engine said is in {tried[0].log}"
        return error
    lines = "\n".join(f"  {t.candidate}: {t.status}: {t.verdict}" for t in tried)
    return GateError(
        f"no candidate may be shipped:\n{lines}",
        "nothing was written; mend the model, or the bounds in 'accept'",
    )
