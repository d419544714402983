"""The report as a page: one file that needs no other, for people."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from marsmith.report_plot import ORIGINAL, Point, draw, front
from marsmith.report_words import DIGITS, facts, fixed, megabytes, metric_name, number, times, told
from marsmith.trials import ADMISSIBLE, FAILED, REFUSED, SHIPPED, SKIPPED

TEMPLATE = Path(__file__).with_name("report_page.html.j2")
USABLE = (SHIPPED, ADMISSIBLE)
ORDER = (*USABLE, REFUSED, FAILED, SKIPPED)
PLOTS = {"wide": (740, 380), "narrow": (335, 420)}  # points


def render(report: Mapping[str, Any]) -> str:
    """Make the page of a report.

    Args:
        report: as `marsmith.report.full` gives it; any figure in it may be None.

    Returns:
        HTML, always the same for the same report, with the plot in it, and without scripts.
    """
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {each.__name__: each for each in (number, fixed, megabytes, times, told)}
    unmeasured: defaultdict[str, None] = defaultdict(lambda: None)
    rows = ranked(report["candidates"], report.get("objective"))
    shipped = next((row for row in rows if row["status"] == SHIPPED), None)
    points, bound = _points(report, rows), _bound(report)
    return environment.from_string(TEMPLATE.read_text("utf-8")).render(
        report=report,
        rows=rows,
        shipped=shipped,
        usable=[row for row in rows if row["status"] in USABLE],
        first=report["ladder"][0],
        original=report.get("original") or unmeasured,
        unmeasured=unmeasured,
        scored=_scored(report),
        name=_axis(report),
        accepted=_accepted(report, shipped or {}),
        bound=bound,
        points=points,
        hidden=len(rows) - sum(point.name != ORIGINAL for point in points),
        plots=_plots(report, points, bound),
        facts=facts,
        over=_over,
    )


def ranked(rows: Sequence[dict[str, Any]], objective: str | None) -> list[dict[str, Any]]:
    """The candidates: shipped, admissible from the best on, refused, failed, skipped."""

    def place(row: dict[str, Any]) -> tuple[int, float]:
        timing, status = row.get("timing") or {}, row["status"]
        speed = timing.get("samples_per_s")
        figures = {"latency": timing.get("p50_ms"), "size": row.get("bytes")}
        figure = figures.get(objective or "", None if speed is None else -speed)
        order = ORDER.index(status) if status in ORDER else len(ORDER)
        return order, math.inf if figure is None else figure

    return sorted(rows, key=place)


def _scored(report: Mapping[str, Any]) -> bool:
    """Whether accuracy is the recipe's metric; otherwise it is the least cosine."""
    return report["ladder"][0].get("metric") is not None


def _axis(report: Mapping[str, Any]) -> str:
    return metric_name(report.get("metric")) if _scored(report) else "least cosine"


def _points(report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """What the plot shows: the original, and the candidates whose accuracy is known."""
    points = []
    first = report["ladder"][0] | {"candidate": ORIGINAL, "timing": report.get("original")}
    for row in (first, *rows):
        value, status = row.get("metric"), row.get("status", ADMISSIBLE)
        if not _scored(report):
            value = (row.get("difference") or {}).get("min_cosine")
        speed = (row.get("timing") or {}).get("samples_per_s") if status in USABLE else None
        if value is not None and math.isfinite(value) and (speed or row is not first):
            value = round(value, DIGITS)
            points.append(Point(row["candidate"], value, speed, row.get("bytes"), status))
    timed = [point for point in points if point.speed and point.name != ORIGINAL]
    for place in front([(point.speed or 0.0, point.accuracy) for point in timed]):
        timed[place].front = True
    return points


def _bound(report: Mapping[str, Any]) -> float | None:
    """The least accuracy that the recipe accepts."""
    accept = report.get("accept") or {}
    if not _scored(report):
        return accept.get("min_cosine")
    least, drop = accept.get("metric_at_least"), accept.get("metric_max_drop")
    bounds = [least, None if drop is None else report["ladder"][0]["metric"] - drop]
    return max((bound for bound in bounds if bound is not None), default=None)


def _plots(
    report: Mapping[str, Any], points: Sequence[Point], bound: float | None
) -> dict[str, str]:
    """The plot by the width of the page; none when nothing was timed."""
    from markupsafe import Markup

    if all(point.speed is None for point in points):
        return {}
    size = (report.get("original") or {}).get("batch_size")
    names = f"samples/s at batch {told(size)}", _axis(report)
    return {
        kind: Markup(draw(points, bound, names, *size))  # noqa: S704 - it escapes its labels
        for kind, size in PLOTS.items()
    }


def _accepted(
    report: Mapping[str, Any], shipped: Mapping[str, Any]
) -> list[tuple[str, Any, float | None]]:
    """Each bound, what it allows, and what was shipped has."""
    difference, metric = shipped.get("difference") or {}, shipped.get("metric")
    first = report["ladder"][0].get("metric")
    has = difference | {
        "metric_at_least": metric,
        "metric_max_drop": None if first is None or metric is None else first - metric,
    }
    return [(name, value, has.get(name)) for name, value in (report.get("accept") or {}).items()]


def _over(one: float | None, other: float | None) -> float | None:
    """How many times the other it is; None where that can't be said."""
    return one / other if one is not None and other else None
