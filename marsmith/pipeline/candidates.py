"""Which candidates a recipe asks for."""

from __future__ import annotations

from collections.abc import Sequence

from handlers import runtimes
from marsmith import converters
from marsmith.recipe.candidate import ALL, Candidate, split
from marsmith.recipe.sections import Recipe


def wanted(recipe: Recipe) -> list[Candidate]:
    """The candidates that a recipe asks for, in a fixed order.

    If it names none, they are the converters' own, for CPUs or for GPUs.

    Raises:
        RecipeError: it names an unknown runtime or precision.
    """
    if recipe.runtime != "auto":
        return [Candidate(recipe.runtime, recipe.precision)]
    if not recipe.candidates:
        return [
            Candidate(name, precision)
            for name in runtimes.known()
            for precision in _defaults(name, recipe.serving.device == "gpu")
        ]
    found = [each for name in recipe.candidates for each in parse(name)]
    return list(dict.fromkeys(found))


def _defaults(runtime: str, gpu: bool) -> Sequence[str]:
    converter = converters.find(runtime)
    found: Sequence[str] = getattr(converter, "GPU_DEFAULTS", ()) if gpu else converter.DEFAULTS
    return found


def parse(name: str) -> list[Candidate]:
    """The candidates of "runtime:precision", as `split` reads it: "all" stands for each there is.

    Raises:
        RecipeError: there is no such runtime or precision.
    """
    runtime, precision = split(name)
    return [
        Candidate(each, one)
        for each in (runtimes.known() if runtime == ALL else [runtime])
        for one in (converters.find(each).PRECISIONS if precision == ALL else [precision])
    ]


def only(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """Return the recipe with these candidates in place of its own.

    Args:
        recipe: what is built.
        names: what `parse` takes.

    Raises:
        RecipeError: there is no such runtime or precision.
    """
    found = [each for name in names for each in parse(name)]
    if len(found) == 1:
        one = {"runtime": found[0].runtime, "precision": found[0].precision, "candidates": ()}
        return recipe.model_copy(update=one)
    auto = {"runtime": "auto", "precision": "fp32", "candidates": tuple(names)}
    return recipe.model_copy(update=auto)
