"""Render the report as a page for people: one file that needs no other."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from marsmith.report.doubts import SLOWER, basis, doubtful, doubts
from marsmith.report.measurements import GAIN, ORIGINAL
from marsmith.report.plot import Point, draw, front
from marsmith.report.words import (
    DIGITS,
    counted,
    facts,
    fixed,
    megabytes,
    metric_name,
    number,
    times,
    told,
)

if TYPE_CHECKING:
    from jinja2 import Template

    from marsmith.report.candidates import CandidateResult
    from marsmith.report.measurements import Difference
    from marsmith.report.report import Report

TEMPLATE = Path(__file__).with_name("page.html.j2")
STYLE = Path(__file__).with_name("page.css")
SCRIPT = Path(__file__).with_name("page.js")
FILTERS = (counted, fixed, megabytes, number, times, told)
PLOTS = {"wide": (740, 380), "narrow": (335, 420)}  # points


def render(report: Report) -> str:
    """Make the page of a report.

    Returns:
        HTML with the plot in it, and one script, which all but sorting and filtering does without;
        the same for equal reports.
    """
    from markupsafe import Markup

    rows = report.ranked()
    points, bound = _points(report, rows), _bound(report)
    shown = report.answers.shown if report.answers else ()
    return _template().render(
        style=Markup(STYLE.read_text("utf-8")),  # noqa: S704 - it is ours
        script=Markup(SCRIPT.read_text("utf-8")),  # noqa: S704 - so is it
        report=report,
        basis=basis(report),
        doubtful=doubtful(report),
        doubts=doubts(report),
        slower=SLOWER,
        gain=GAIN,
        rows=rows,
        groups=_groups(rows),
        metric_title=metric_name(report.metric),
        shows_expected=any(each.expected is not None for each in shown),
        shipped=report.shipped,
        usable=[row for row in rows if row.usable],
        first=report.first,
        original=report.original,
        unmeasured=defaultdict(lambda: None),
        scored=_scored(report),
        name=_axis(report),
        accepted=_accepted(report),
        bound=bound,
        points=points,
        hidden=len(rows) - sum(point.name != ORIGINAL for point in points),
        plots=_plots(report, points, bound),
        facts=facts,
        over=_over,
    )


@cache
def _template() -> Template:
    """The page's template: to compile it takes longer than to fill it in."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {each.__name__: each for each in FILTERS}
    return environment.from_string(TEMPLATE.read_text("utf-8"))


def _groups(rows: Sequence[CandidateResult]) -> list[list[CandidateResult]]:
    """Candidates that have the same to be said of them, in the place of the best of them."""
    groups: dict[tuple[str, ...], list[CandidateResult]] = {}
    for row in rows:
        key = (row.status, row.verdict, row.hint)
        groups.setdefault((*key, row.candidate) if row.usable else key, []).append(row)
    return list(groups.values())


def _scored(report: Report) -> bool:
    """Whether accuracy is the recipe's metric; otherwise it is the least cosine."""
    return report.first.metric is not None


def _axis(report: Report) -> str:
    return metric_name(report.metric) if _scored(report) else "least cosine"


def _points(report: Report, rows: Sequence[CandidateResult]) -> list[Point]:
    """The points of the plot: the original, and the candidates whose accuracy is known."""

    def accuracy(metric: float | None, difference: Difference | None) -> float | None:
        cosine = difference.min_cosine if difference else None
        value = metric if _scored(report) else cosine
        return round(value, DIGITS) if value is not None and math.isfinite(value) else None

    points = []
    first = report.first
    if (value := accuracy(first.metric, first.difference)) is not None:
        points.append(Point(ORIGINAL, value, report.original.samples_per_s))
    for row in rows:
        if (value := accuracy(row.metric, row.difference)) is not None:
            speed = row.timing.samples_per_s if row.timing and row.usable else None
            shipped = row.status == "shipped"
            points.append(Point(row.candidate, value, speed, row.bytes, shipped=shipped))
    timed = [point for point in points if point.speed and point.name != ORIGINAL]
    best = [timed[place] for place in front([(p.speed or 0.0, p.accuracy) for p in timed])]
    return [dataclasses.replace(point, front=point in best) for point in points]


def _bound(report: Report) -> float | None:
    """The least accuracy that the recipe accepts."""
    accept, first = report.accept, report.first.metric
    if first is None:
        return accept.min_cosine
    bounds = (accept.metric_at_least, first - accept.metric_max_drop)
    return max(bound for bound in bounds if bound is not None)


def _plots(report: Report, points: Sequence[Point], bound: float | None) -> dict[str, str]:
    """The plots by the width of the page; none if nothing was timed."""
    from markupsafe import Markup

    if all(point.speed is None for point in points):
        return {}
    names = f"samples/s at batch {told(report.original.batch_size)}", _axis(report)
    return {
        kind: Markup(draw(points, bound, names, *size))  # noqa: S704 - it escapes its labels
        for kind, size in PLOTS.items()
    }


def _accepted(report: Report) -> list[tuple[str, float | None, float | None]]:
    """Each bound: its name, what it allows, and the figure of what was shipped."""
    shipped, first = report.shipped, report.first.metric
    drop = None if first is None or shipped.metric is None else first - shipped.metric
    has = {"metric_at_least": shipped.metric, "metric_max_drop": drop}
    if shipped.difference:
        has |= dataclasses.asdict(shipped.difference)
    return [(name, allowed, has.get(name)) for name, allowed in report.accept]


def _over(one: float | None, other: float | None) -> float | None:
    """The ratio of one to the other; None where there is none."""
    return one / other if one is not None and other else None
