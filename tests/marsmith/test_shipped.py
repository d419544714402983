"""Where files lie that come with marsmith; `tests/test_wheel.py` looks where pip puts them."""

from __future__ import annotations

import pytest

from marsmith.errors import MarsmithError
from marsmith.shipped import shipped
from tests.support.paths import ROOT


def test_in_a_checkout_they_lie_beside_the_packages() -> None:
    assert shipped("config.properties") == ROOT / "config.properties"
    assert shipped("archiver_configs") == ROOT / "archiver_configs"


def test_one_that_is_missing_is_named() -> None:
    with pytest.raises(MarsmithError, match=r"marsmith's nothing\.txt is missing; looked in"):
        shipped("nothing.txt")
