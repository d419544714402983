"""Format figures for the readers of a report."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

DIGITS = 4  # of metrics and cosines; equal in these is equal
NOTHING = "–"


def number(value: float | None, digits: int = 3) -> str:
    """Format a measured figure with some significant digits; whole numbers stay whole."""
    if value is None or math.isnan(value):
        return NOTHING if value is None else "not a number"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if isinstance(value, int) or value == 0 or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return _plain(f"{value:#.{digits}g}").rstrip(".")


def fixed(value: float | None) -> str:
    """Format a metric or a cosine."""
    return number(value) if value is None or not math.isfinite(value) else f"{value:.{DIGITS}f}"


def metric_name(metric: str | None) -> str:
    """A recipe's metric for people, without module and underscores."""
    return (metric or "metric").rpartition(":")[2].replace("_", " ")


def counted(count: int, one: str, more: str = "") -> str:
    """Format a count of things: "1 sample", "2 samples"."""
    return f"{number(count)} {one if count == 1 else more or f'{one}s'}"


def times(value: float | None) -> str:
    """Format a ratio of speeds."""
    return number(value) if value is None or value >= 10 else f"{value:.2f}"


def megabytes(value: float | None) -> str:
    """Format a size in bytes as megabytes."""
    if value is None:
        return NOTHING
    return number(value / 1e6) if value >= 1e6 else f"{value / 1e6:.3f}"


def told(value: object) -> str:
    """Format any value, without rounding it much."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(told, value))
    if isinstance(value, float):
        return _plain(f"{value:,.6g}") if math.isfinite(value) else number(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def facts(given: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the names and values of nested data; those under `before` and `after` side by side."""
    before, after = given.get("before"), given.get("after")
    pairs = isinstance(before, Mapping) and isinstance(after, Mapping)
    for name, value in given.items():
        if pairs and name in ("before", "after"):
            continue
        if isinstance(value, Mapping):
            yield from facts(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", told(value)
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in {**before, **after}:
            yield f"{prefix}{name}", f"{told(before.get(name))} → {told(after.get(name))}"


def _plain(text: str) -> str:
    """Write 1.5e-07 as 1.5e-7."""
    return re.sub(r"e([+-])0*", r"e\1", text).replace("e+", "e")
