"""A candidate: a form, runtime × precision, in which a model may be shipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from handlers import runtimes
from handlers.schema import unknown
from marsmith.errors import RecipeError
from marsmith.recipe.sections import Precision

ALL = "all"
PRECISIONS: tuple[str, ...] = (ALL, *get_args(Precision))


@dataclass(frozen=True, order=True)
class Candidate:
    """A runtime and a precision; "onnx:int8" in words."""

    runtime: str
    precision: str

    def __str__(self) -> str:
        return f"{self.runtime}:{self.precision}"

    @property
    def file_name(self) -> str:
        """The candidate as part of a file's name, such as "onnx-int8"."""
        return f"{self.runtime}-{self.precision}"


def split(name: str) -> tuple[str, str]:
    """The runtime and the precision of "runtime:precision"; each may be "all", and ":all" left out.

    Raises:
        RecipeError: there is no such runtime or precision.
    """
    runtime, colon, precision = name.partition(":")
    known = [ALL, *runtimes.known()]
    if runtime not in known:
        raise RecipeError(unknown(runtime, known, "'candidates'"))
    if colon and precision not in PRECISIONS:
        raise RecipeError(unknown(precision, list(PRECISIONS), f"the candidate {name!r}"))
    return runtime, precision if colon else ALL
