"""What was measured as a page for people: one file that needs no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marsmith.bench.figures import Spread, spread
from marsmith.bench.measure import Measured
from marsmith.bench.rows import rows
from marsmith.bench.sending import Run
from marsmith.report.page import STYLE
from marsmith.report.svg import FRONT, LINE, QUIET, REFUSED, embedded, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPLATE = Path(__file__).with_name("page.html.j2")
SHARES = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)
SIZE_PT, TEXT_PT = (740, 300), 9.0
BOX = (0.06, 0.14, 0.9, 0.8)  # of the axes, as shares of the plot
MOST_POINTS = 5000  # of a plot; a page must open at once


def render(measured: Measured, runs: Sequence[Run]) -> str:
    """Make the page.

    Args:
        measured: the figures of some runs.
        runs: these runs.
    """
    from jinja2 import Environment
    from markupsafe import Markup

    named = [(name, spread(measured.runs, figure)) for name, figure in rows(measured)]
    figures = [(name, found) for name, found in named if found is not None]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["told"] = told
    return environment.from_string(TEMPLATE.read_text("utf-8")).render(
        style=Markup(STYLE.read_text("utf-8")),  # noqa: S704 - it is ours
        measured=measured,
        figures=figures,
        lead=figures[0][1],
        distribution=Markup(_distribution(measured, runs)),  # noqa: S704 - numbers alone
        timeline=Markup(_timeline(measured, runs[-1])),  # noqa: S704 - numbers alone
    )


def told(value: float) -> str:
    """A figure in four digits, and no more than two behind the point."""
    return f"{float(f'{round(value, 2):.4g}'):,g}" if abs(value) < 10_000 else f"{value:,.0f}"


def lines(found: Spread) -> tuple[str, str, str]:
    """A figure's median, least and most, in words."""
    return told(found.median), told(found.least), told(found.most)


def _distribution(measured: Measured, runs: Sequence[Run]) -> str:
    """Latency over the share of the answers that came within it, by nines."""
    with figure(*SIZE_PT, TEXT_PT) as drawn:
        axes = drawn.add_axes(BOX, facecolor="none")
        for run in runs:
            taken = np.sort(_latencies_ms(run, measured.warm_up_s))
            shares = np.arange(1, len(taken) + 1) / (len(taken) + 1)
            step = max(1, len(taken) // MOST_POINTS)
            axes.plot(-np.log10(1 - shares[::step]), taken[::step], color=FRONT, linewidth=1.2)
        end = axes.dataLim.xmax
        axes.set_xlim(0, end)
        shown = [each for each in SHARES if -np.log10(1 - each) <= end]
        axes.set_xticks([-np.log10(1 - each) for each in shown])
        axes.set_xticklabels([f"{each * 100:g} %" for each in shown])
        if measured.slo_ms is not None:
            axes.axhline(measured.slo_ms, color=REFUSED, linewidth=0.8, dashes=(4, 3))
        _quiet(axes)
        return embedded(drawn, "d-")


def _timeline(measured: Measured, run: Run) -> str:
    """Latency over the time that each request was meant to be sent at."""
    with figure(*SIZE_PT, TEXT_PT) as drawn:
        axes = drawn.add_axes(BOX, facecolor="none")
        step = max(1, len(run.exchanges) // MOST_POINTS)
        for failed, colour in ((False, FRONT), (True, REFUSED)):
            shown = [each for each in run.exchanges[::step] if bool(each.error) == failed]
            axes.scatter(
                [each.intended for each in shown],
                [(each.done - each.intended) * 1e3 for each in shown],
                s=3, color=colour, alpha=0.5, linewidths=0,
            )  # fmt: skip
        axes.axvline(measured.warm_up_s, color=QUIET, linewidth=0.8, dashes=(1, 3))
        axes.set_xlabel("s", color=QUIET)
        _quiet(axes)
        return embedded(drawn, "t-")


def _latencies_ms(run: Run, warm_up_s: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(
        [
            (each.done - each.intended) * 1e3
            for each in run.exchanges
            if not each.error and each.intended >= warm_up_s
        ]
    )


def _quiet(axes: Axes) -> None:
    axes.set_ylim(0, None)
    axes.set_ylabel("ms", color=QUIET)
    axes.tick_params(length=0, labelcolor=QUIET, pad=7)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
