"""A metric is found by its module's name, or as "module:function"."""

from __future__ import annotations

from pathlib import Path

import pytest

from marsmith.errors import RecipeError
from marsmith.verify import metrics
from marsmith.verify.metrics import accuracy


def test_a_metric_is_the_name_of_its_module() -> None:
    assert metrics.find("accuracy") is accuracy.measure


def test_the_nearest_metric_is_named() -> None:
    with pytest.raises(RecipeError, match="did you mean 'accuracy'"):
        metrics.find("acuracy")


def test_a_module_that_measures_nothing_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nothing_measured.py").touch()
    monkeypatch.setattr(metrics, "__path__", [str(tmp_path)])
    with pytest.raises(RecipeError, match="must define measure"):
        metrics.find("nothing_measured")
