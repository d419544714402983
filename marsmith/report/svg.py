"""Plots of matplotlib's as part of a page: SVG without ids of others, in the page's own colours."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Matplotlib has no colours by role: these stand for the page's, which differ in the dark.
INK, QUIET, LINE, FRONT, REFUSED = "#010101", "#020202", "#030303", "#040404", "#050505"
ROLES = {INK: "ink", QUIET: "quiet", LINE: "line", FRONT: "accent", REFUSED: "refused"}


@contextmanager
def figure(width: float, height: float, text_pt: float) -> Iterator[Figure]:
    """An empty figure to draw on and to embed, within the block; whatever matplotlibrc says.

    Args:
        width: in points.
        height: in points.
        text_pt: the size of its text.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams["svg.fonttype"] = "none"
        mpl.rcParams["svg.hashsalt"] = "marsmith"
        mpl.rcParams["text.parse_math"] = False
        mpl.rcParams["font.size"] = text_pt
        drawn = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(drawn)
        yield drawn


def embedded(drawn: Figure, prefix: str) -> str:
    """Write a figure as an element of a page.

    Args:
        drawn: made by `figure`, within its block.
        prefix: of its ids, which no other figure of the page has.

    Returns:
        An `<svg>` element that refers to nothing outside; the same for equal figures.
    """
    for artist in drawn.findobj():
        artist.set_clip_on(False)  # clipping would need url(), and hides nothing here
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    drawn.savefig(file, format="svg", facecolor="none", metadata=nothing)
    svg = file.getvalue()
    svg = re.sub(r'( id="|href="#)', rf"\g<1>{prefix}", svg[svg.index("<svg") :])
    for colour, role in ROLES.items():
        svg = svg.replace(colour, f"var(--{role})")
    return svg
