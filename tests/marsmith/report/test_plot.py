from __future__ import annotations

import re

import pytest
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


@pytest.mark.parametrize("size", [(740, 380), (335, 420)])
@pytest.mark.parametrize("fastest", [0.9, 8.7, 99.0, 17.6, 438.0, 1_052.0, 87_700.0, 8_770_000.0])
def test_no_label_of_an_axis_is_cut(fastest: float, size: tuple[int, int]) -> None:
    points = [Point(ORIGINAL, 0.99991, fastest / 3), Point("fast", 0.999905, fastest, 1)]
    svg = draw(points, None, ("samples/s", "accuracy"), *size)
    middles = re.findall(r'text-anchor: middle[^>]* x="([-\d.]+)"[^>]*>([\d,.]+)<', svg)
    ends = re.findall(r'text-anchor: end[^>]* x="([-\d.]+)"[^>]*>([\d,.]+)<', svg)
    assert middles
    assert ends
    for x, label in middles:  # a digit is some 6 points wide
        assert float(x) + 3 * len(label) <= size[0]
    for x, label in ends:
        assert float(x) >= 5 * len(label)
