"""Accept headers as browsers, curl and programs send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.protocols.negotiation import choose

OFFERED = ("application/json", "image/png")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/*", "image/png"),
        ("image/png, */*", "image/png"),
        ("text/html,image/avif,image/webp,image/png,*/*;q=0.8", "image/png"),
        ("image/png;q=0.5, application/json", "application/json"),
        ("image/png;q=0.5, application/json;q=0.4", "image/png"),
        ("image/png;q=0, */*", "application/json"),
        ("image/png;q=many, */*;q=0.1", "application/json"),
        ("text/html", "application/json"),
    ],
)
def test_the_client_gets_what_it_wants_most(accept: str, chosen: str) -> None:
    assert choose(accept, OFFERED) == chosen


@given(st.text(max_size=40) | st.lists(st.sampled_from([*OFFERED, "*/*", ";q=", ",", "1e999"])))
def test_any_header_chooses_something(accept: str | list[str]) -> None:
    assert choose("".join(accept), OFFERED) in OFFERED
