"""What a good answer is: one file per metric, whose name is what a recipe says.

Each has `measure(answers, expected) -> float`: answers as a client sees them, JSON data.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from typing import Any

from marsmith.errors import RecipeError
from marsmith.references import resolve

Metric = Callable[[Sequence[Any], Sequence[Any]], float]


def find(name: str) -> Metric:
    """A metric of this package by its module's name, or one's own by "module:function".

    Raises:
        RecipeError: there is no such metric.
    """
    if ":" in name:
        return resolve(name)
    known = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name not in known:
        raise RecipeError(f"there is no metric {name!r}; there are: {', '.join(known)}")
    found: Metric = importlib.import_module(f"{__name__}.{name}").measure
    return found
