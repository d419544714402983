"""Choose which of the admissible candidates is shipped, and say why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from marsmith.errors import GateError, MarsmithError
from marsmith.pipeline.trials import Trial
from marsmith.recipe.sections import Objective, Recipe
from marsmith.report.doubts import SLOWER
from marsmith.report.measurements import EQUAL, Timing

Figures = Callable[[int, Timing], tuple[float, float]]

# By objective, the figure that decides and the one that breaks ties; the smallest is the best.
FIGURES: dict[Objective, Figures] = {
    "latency": lambda _, timing: (timing.p50_ms, 1 / timing.samples_per_s),
    "throughput": lambda _, timing: (1 / timing.samples_per_s, timing.p50_ms),
    "size": lambda size, timing: (size, 1 / timing.samples_per_s),
}
# The figure that decides, in words.
DECIDES: dict[Objective, Callable[[int, Timing], str]] = {
    "latency": lambda _, timing: f"{timing.p50_ms:.3g} ms at batch 1",
    "throughput": lambda _, timing: f"{timing.samples_per_s:.4g} samples/s",
    "size": lambda size, _: f"{size:,} bytes",
}


def choose(tried: Sequence[Trial], recipe: Recipe, original: Timing) -> list[Trial]:
    """Choose the best of the admissible trials to be shipped, and say how each compares.

    Args:
        tried: at least one of them is admissible; the admissible ones are timed.
        recipe: its objective decides.
        original: what the speeds are compared with.

    Returns:
        The same trials with their verdicts; one of them is shipped.
    """
    timed = {place: trial.timing for place, trial in enumerate(tried) if trial.timing}
    figures = {
        place: FIGURES[recipe.objective](tried[place].converted.size, timing)
        for place, timing in timed.items()
    }
    bound = EQUAL * min(first for first, _ in figures.values())
    equals = [place for place, (first, _) in figures.items() if first <= bound]
    best = min(equals, key=lambda place: figures[place][1])
    only = "the only one" if len(figures) == 1 else f"best {recipe.objective}"
    decides = {
        place: DECIDES[recipe.objective](tried[place].converted.size, timing)
        for place, timing in timed.items()
    }
    chosen = list(tried)
    for place, timing in timed.items():
        lead = only if place == best else f"{decides[place]}, the shipped one {decides[best]}"
        said = "; ".join(filter(None, (_compared(timing, original), chosen[place].verdict)))
        chosen[place] = replace(chosen[place], verdict=f"{lead}: {said}")
    chosen[best] = replace(chosen[best], status="shipped")
    return chosen


def shipped(tried: Sequence[Trial]) -> Trial:
    """The trial that was chosen."""
    return next(trial for trial in tried if trial.status == "shipped")


def _compared(timing: Timing, original: Timing) -> str:
    faster = timing.samples_per_s / original.samples_per_s
    sooner = original.p50_ms / timing.p50_ms
    return (
        f"{faster:.2f}× the original's throughput{_slower(faster)},"
        f" {sooner:.2f}× its speed at batch 1{_slower(sooner)}"
    )


def _slower(ratio: float) -> str:
    return " (slower)" if ratio < SLOWER else ""


def expect_some(tried: Sequence[Trial]) -> None:
    """Check that an admissible candidate is left.

    Raises:
        BuildError: none is; the error says what stopped the only one, or all of them.
    """
    if all(trial.status != "admissible" for trial in tried):
        raise _why_none(tried)


def _why_none(tried: Sequence[Trial]) -> MarsmithError:
    if len(tried) == 1 and tried[0].error is not None:
        error = tried[0].error
        if tried[0].status == "failed":
            error.hint = f"{error.hint}; " if error.hint else ""
            error.hint += f"see what the engine said in {tried[0].log}"
        return error
    same: dict[tuple[str, str], list[str]] = {}
    for trial in tried:
        same.setdefault((trial.status, trial.verdict), []).append(str(trial.candidate))
    lines = "\n".join(
        f"  {', '.join(names)}: {status}: {verdict}" for (status, verdict), names in same.items()
    )
    return GateError(
        f"no candidate may be shipped:\n{lines}",
        "mend the model, or the bounds in 'accept'; nothing was written",
    )
