"""What a good answer is: one file per metric, whose name is what a recipe says.

Each has `measure(answers, expected) -> float`, higher is better: answers as a client gets them
under the recipe's `handler.defaults`, JSON data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from handlers import by_name
from marsmith.errors import RecipeError
from marsmith.recipe.references import resolve

Metric = Callable[[Sequence[object], Sequence[object]], float]


def find(name: str) -> Metric:
    """A metric of this package by its module's name, or one's own by "module:function".

    Raises:
        RecipeError: there is no such metric, or its module measures nothing.
    """
    if ":" in name:
        return resolve(name)
    module = by_name.find(__name__, name, "'metric'", RecipeError)
    found: Metric | None = getattr(module, "measure", None)
    if found is None:
        raise RecipeError(f"{module.__name__} must define measure(answers, expected) -> float")
    return found
