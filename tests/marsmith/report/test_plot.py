from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from marsmith.report.measurements import ORIGINAL
from marsmith.report.plot import Point, draw, front

FIGURES = st.integers(-3, 3).map(float) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(FIGURES, FIGURES), max_size=30))
def test_the_front_is_what_nothing_else_beats(points: list[tuple[float, float]]) -> None:
    slow = [
        place
        for place, (x, y) in enumerate(points)
        if not any(a >= x and b >= y and (a > x or b > y) for a, b in points)
    ]
    assert front(points) == slow


POINTS = [
    Point(ORIGINAL, 0.99, 100.0),
    Point("fast", 0.98, 900.0, 10_000_000, shipped=True, front=True),
    Point("exact", 0.99, 300.0, 40_000_000, front=True),
    Point("wrong", 0.1, None, 10_000_000),
    Point("nearly", 0.974, None, 10_000_000),
]


def labels(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_every_point_has_its_label_and_what_lies_below_says_so() -> None:
    found = labels(draw(POINTS, 0.975, ("samples/s", "accuracy"), 740, 380))
    assert {ORIGINAL, "fast", "exact", "wrong ↓ 0.1000", "nearly", "not timed"} <= set(found)
    assert {"↑ accuracy", "samples/s →"} <= set(found)


def test_labels_are_text_and_no_formula() -> None:
    svg = draw([Point("<b>$x_1$ & co", 1.0, 5.0, 1)], None, ("<s>", "$y$"), 335, 420)
    assert {"&lt;b&gt;$x_1$ &amp; co", "&lt;s&gt; →", "↑ $y$"} <= set(labels(svg))


def test_a_crowd_of_equals_has_labels_that_cover_nothing() -> None:
    crowd = [Point(f"engine:int8_{n}", 0.99, 100.0 + n, 10_000_000) for n in range(12)]
    svg = draw(crowd, 0.97, ("samples/s", "accuracy"), 740, 380)
    found = re.findall(r'<text[^>]* x="([\d.]+)" y="([\d.]+)"[^>]*>engine', svg)
    spots = [(float(x), float(y)) for x, y in found]
    assert len(spots) == 12
    for place, (x, y) in enumerate(spots):  # some 60 points wide, 9 high
        assert all(abs(x - a) > 55 or abs(y - b) > 8 for a, b in spots[:place])


def test_a_plot_has_no_colours_but_the_pages() -> None:
    svg = draw(POINTS, 0.975, ("samples/s", "accuracy"), 740, 380)
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert svg.startswith("<svg")
    assert "url(" not in svg
    assert set(re.findall(r"var\(--(\w+)\)", svg)) == {"ink", "quiet", "line", "accent", "refused"}


def test_plots_of_two_sizes_share_no_ids() -> None:
    one, other = (set(re.findall(r' id="([^"]+)"', draw(POINTS, None, ("s", "a"), *size)))
                  for size in ((740, 380), (335, 420)))  # fmt: skip
    assert one
    assert not one & other
