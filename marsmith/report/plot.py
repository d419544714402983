"""The report's plot: accuracy against speed, as SVG in the page's own colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from marsmith.report.measurements import ORIGINAL
from marsmith.report.svg import FRONT, INK, LINE, QUIET, REFUSED, embedded, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Box = tuple[float, float, float, float]  # left, bottom, right, top, in points of the figure

TEXT_PT, SMALL_TEXT_PT = 10.0, 9.0  # the wide plot is shown enlarged
WIDE_PT = 500.0
STRIP_PT = 60.0  # left of the speeds, for points without one
ROW_PT = 14.0  # the height of a label
LARGEST_PT2 = 900.0  # the area of the largest marker
EDGES_PT = (42.0, 8.0, 40.0, 30.0)  # left, right, below and above the axes


@dataclass(frozen=True)
class Point:
    """A model in the plot.

    Attributes:
        name: its label.
        accuracy: higher is better; finite.
        speed: samples a second; None if it wasn't timed.
        size: in bytes; None if unknown.
        shipped: whether it was chosen.
        front: whether it is on the Pareto front.
    """

    name: str
    accuracy: float
    speed: float | None
    size: int | None = None
    shipped: bool = False
    front: bool = False


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Find the Pareto front: no point beats one of it in one figure and equals it in the other.

    Args:
        points: two finite figures each; more is better.

    Returns:
        The indices of the points on the front, in order. Equal points are all on it, or none is.
    """
    chosen: list[int] = []
    for place in sorted(range(len(points)), key=lambda place: points[place], reverse=True):
        last = points[chosen[-1]] if chosen else None
        if last is None or points[place][1] > last[1] or points[place] == last:
            chosen.append(place)
    return sorted(chosen)


def draw(
    points: Sequence[Point],
    bound: float | None,
    names: tuple[str, str],
    width: int,
    height: int,
) -> str:
    """Draw a plot.

    Args:
        points: at least one is timed; the one named "original" is the reference.
        bound: the least accuracy that is accepted.
        names: the names of the speed and of the accuracy.
        width: in points.
        height: in points.

    Returns:
        An `<svg>` element that refers to nothing outside; the same for equal points.
    """
    with figure(width, height, SMALL_TEXT_PT if width > WIDE_PT else TEXT_PT) as drawn:
        left, right, below, above = EDGES_PT
        box = (left / width, below / height)
        axes = drawn.add_axes(
            (*box, 1 - box[0] - right / width, 1 - box[1] - above / height), facecolor="none"
        )
        _scales(axes, points, bound, names)
        _whole(drawn, axes, width)
        _lines(axes, points, bound)
        drawn.draw_without_rendering()  # from here on all has its place
        _labels(axes, points, _marks(axes, points))
        return embedded(drawn, f"w{width}-")


def _scales(
    axes: Axes, points: Sequence[Point], bound: float | None, names: tuple[str, str]
) -> None:
    """Set limits, ticks and names, with room at the bottom for what was refused far below."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    shown = [p.accuracy for p in points if p.speed is not None]
    shown += [bound] if bound is not None else []
    low, high = min(shown), max(shown)
    span = high - low or max(abs(high) * 0.01, 1e-3)
    low = min([low, *(p.accuracy for p in points if low - span <= p.accuracy < low)])
    below = sum(p.accuracy < low for p in points)
    share = min((below * ROW_PT + ROW_PT) / axes.bbox.height, 0.6)
    axes.set_ylim(low - (high + 0.25 * span - low) * share / (1 - share), high + 0.25 * span)
    ticks = MaxNLocator(5).tick_values(low, high)
    axes.set_yticks([t for t in ticks if low - 0.1 * span < t < high + 0.1 * span])
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)

    fastest = max(p.speed for p in points if p.speed is not None) * 1.14
    width = axes.bbox.width
    strip = STRIP_PT if any(p.speed is None for p in points) else 0.0
    axes.set_xlim(-fastest * strip / (width - strip), fastest)
    ticks = MaxNLocator(6 if width > WIDE_PT else 4).tick_values(0, fastest)
    axes.set_xticks([tick for tick in ticks if 0 <= tick <= fastest])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.8g}"))

    axes.tick_params(length=0, labelcolor=QUIET, pad=6)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    for text, x, y, side in (
        (f"{names[0]} →", width, 6 - EDGES_PT[2], "right"),
        (f"↑ {names[1]}", 4 - EDGES_PT[0], axes.bbox.height + 14, "left"),
        ("not timed" if strip else "", 0, 6 - EDGES_PT[2], "left"),
    ):
        axes.annotate(text, (x, y), xycoords="axes points", color=QUIET, ha=side)


def _whole(drawn: Figure, axes: Axes, width: float) -> None:
    """Make room for the labels of the accuracies, and drop a tick whose label would be cut."""
    drawn.draw_without_rendering()
    left = min(label.get_window_extent().x0 for label in axes.get_yticklabels())
    if left < 0:
        box = axes.get_position()
        axes.set_position((box.x0 - left / width, box.y0, box.width + left / width, box.height))
        drawn.draw_without_rendering()
    labels = zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
    axes.set_xticks([at for at, label in labels if label.get_window_extent().x1 <= width])


def _lines(axes: Axes, points: Sequence[Point], bound: float | None) -> None:
    """Draw the front as steps, the bound, the original's speed, and the untimed strip's edge."""
    bottom, top = axes.get_ylim()
    if bound is not None:
        axes.axhline(bound, color=REFUSED, linewidth=0.8, dashes=(4, 3))
    if any(p.speed is None for p in points):
        axes.plot((0, 0), (bottom, top), color=LINE, linewidth=0.8)
    for point in points:
        if point.name == ORIGINAL and point.speed is not None:
            axes.plot(
                (point.speed, point.speed), (bottom, top), color=QUIET, linewidth=0.7, dashes=(1, 3)
            )
    best = sorted((p.speed, p.accuracy) for p in points if p.front and p.speed is not None)
    if best:
        across = [0.0, *(speed for speed, _ in best), best[-1][0]]
        down = [best[0][1], *(accuracy for _, accuracy in best), bottom]
        axes.step(across, down, where="pre", color=FRONT, linewidth=1.2, alpha=0.6)


def _marks(axes: Axes, points: Sequence[Point]) -> list[tuple[float, float, float]]:
    """Draw a marker for each point; return its place and radius, in points of the figure.

    Each point below the axes has a row of its own at the bottom, the least accurate the lowest.
    """
    largest = max((p.size or 0 for p in points), default=0) or 1
    bottom = axes.get_ylim()[0]
    lower = sorted(p.accuracy for p in points if p.accuracy < bottom)
    circles = []
    for point in points:
        x, y = axes.transData.transform((point.speed or 0.0, point.accuracy))
        area = 0.0
        if point.speed is None:
            x = axes.bbox.x0 + ROW_PT / 2
            if point.accuracy < bottom:
                y = axes.bbox.y0 + ROW_PT * (lower.index(point.accuracy) + 0.5)
            style = {"marker": "x", "s": 28.0, "color": REFUSED}
        elif point.name == ORIGINAL:
            style = {"marker": "D", "s": 30.0, "edgecolors": INK, "facecolors": "none"}
        else:
            area = LARGEST_PT2 * (point.size or 0) / largest
            colour = FRONT if point.front or point.shipped else QUIET
            strength = 0.55 if point.shipped else 0.18
            style = {"s": 5.0, "color": colour}  # a centre, however small the model is
            _dot(axes, x, y, s=area, color=colour, alpha=strength, linewidths=0)
        _dot(axes, x, y, **style)
        circles.append((x, y, max(math.sqrt(area / math.pi), 4.0)))
    return circles


def _dot(axes: Axes, x: float, y: float, **style: Any) -> None:
    from matplotlib.transforms import IdentityTransform

    axes.scatter([x], [y], transform=IdentityTransform(), zorder=3, **style)


def _labels(axes: Axes, points: Sequence[Point], circles: list[tuple[float, float, float]]) -> None:
    """Put a label beside each marker, or where there is room, with a line to the marker."""
    from matplotlib.transforms import IdentityTransform

    screen, bottom = IdentityTransform(), axes.get_ylim()[0]
    taken = [(x - r, y - r, x + r, y + r) for x, y, r in circles]
    frame = (2.0, axes.bbox.y0 + 2, axes.bbox.x1 + 6, axes.bbox.y1 + 4)
    for point, circle in zip(points, circles, strict=True):
        label = f"{point.name} ↓ {point.accuracy:.4f}" if point.accuracy < bottom else point.name
        text = axes.text(0, 0, label, transform=screen, va="center", zorder=4)
        text.set_color(INK if point.front or point.shipped or point.name == ORIGINAL else QUIET)
        text.set_fontweight("bold" if point.shipped else "normal")
        size = text.get_window_extent()
        box = _room(circle, size.width + 4, size.height, taken, frame)
        taken.append(box)
        left, low, right, high = box
        text.set_position((left + 2, (low + high) / 2))
        x, y, radius = circle
        near = min(max(x, left), right), min(max(y, low), high)
        if math.dist(near, (x, y)) > radius + 6:
            ends = (x, near[0]), (y, near[1])
            axes.plot(*ends, transform=screen, color=QUIET, linewidth=0.5)


def _room(
    circle: tuple[float, float, float], width: float, height: float, taken: list[Box], frame: Box
) -> Box:
    """Find the box where a label covers the least, as near to its marker as possible."""
    x, y, radius = circle
    best, least = frame, math.inf
    for away in (3, 10, 20, 32, 46, 62, 80, 100):
        for turn in range(16):
            across, up = math.cos(turn * math.tau / 16), math.sin(turn * math.tau / 16)
            # The side or corner of the label that faces the marker is `away` from it.
            left = x + across * (radius + away) - width * (1 - across) / 2
            low = y + up * (radius + away) - height * (1 - up) / 2
            box = (left, low, left + width, low + height)
            covered = width * height - _shared(box, frame)
            covered += sum(_shared(box, other) for other in taken)
            cost = covered * 10 + away + 2 * (turn % 8 != 0)
            if cost < least:
                best, least = box, cost
    return best


def _shared(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    up = min(one[3], other[3]) - max(one[1], other[1])
    return across * up if across > 0 and up > 0 else 0.0
