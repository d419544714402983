from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.evaluation import bodies_of


def test_bodies_come_alone_or_with_what_is_expected() -> None:
    assert bodies_of([b"1", b"2"], "data") == [b"1", b"2"]
    assert bodies_of([(b"1", "one"), (b"2", None)], "data") == [b"1", b"2"]


@pytest.mark.parametrize(
    "items", [[], ["1"], [b"1", (b"2", 2)], [(b"1",)], [("1", 1)], [[b"1", 1]]]
)
def test_what_is_neither_is_refused(items: list[object]) -> None:
    with pytest.raises(BuildError, match="mine:data must return"):
        bodies_of(items, "mine:data")
