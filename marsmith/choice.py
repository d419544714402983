"""Which of the admissible candidates is shipped, and why."""

from __future__ import annotations

from collections.abc import Callable

from marsmith.errors import GateError, MarsmithError
from marsmith.recipe import Recipe
from marsmith.timing import Timing
from marsmith.trials import ADMISSIBLE, FAILED, SHIPPED, Trial

Figures = Callable[[int, Timing], tuple[float, float]]

# By objective, the figure that decides and the one between equals; the smallest is the best.
FIGURES: dict[str, Figures] = {
    "latency": lambda _, timing: (timing.p50_ms, 1 / timing.samples_per_s),
    "throughput": lambda _, timing: (1 / timing.samples_per_s, timing.p50_ms),
    "size": lambda size, timing: (size, 1 / timing.samples_per_s),
}
EQUAL = 1.03  # times the best: less than two runs of the same model differ by


def choose(tried: list[Trial], recipe: Recipe, original: Timing) -> Trial:
    """Mark the best of the admissible as shipped, and say of each how it compares.

    Args:
        tried: at least one of them admissible.
        recipe: its objective decides.
        original: what the speeds are compared with.

    """
    figures = {
        place: FIGURES[recipe.objective](trial.converted.size, trial.timing)
        for place, trial in enumerate(tried)
        if trial.status == ADMISSIBLE and trial.timing
    }
    bound = EQUAL * min(first for first, _ in figures.values())
    equals = [place for place, (first, _) in figures.items() if first <= bound]
    best = tried[min(equals, key=lambda place: figures[place][1])]
    for place in figures:
        tried[place].verdict = _compared(tried[place], original)
    only = "the only one" if len(figures) == 1 else f"best {recipe.objective}"
    best.status, best.verdict = SHIPPED, f"{only}: {best.verdict}"
    return best


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
