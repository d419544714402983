"""The digits archive in other forms: another runtime, tighter limits."""

from __future__ import annotations

from pathlib import Path

from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe.sections import Recipe
from tests.support.answers import check_refused, same
from tests.support.changed_archives import configured
from tests.support.digit_requests import GOOD, PNGS, TEXTS
from tests.support.images import png_header
from tests.support.mutated_requests import fresh


def test_the_eager_runtime_answers_the_same(
    digits: Harness, digits_recipe: Recipe, store: Path
) -> None:
    changes = {"name": "digits-eager", "runtime": "eager", "evaluation": None}
    build(digits_recipe.model_copy(update=changes), store)
    requests = [GOOD[name] for name in ("raw", "jpeg", "v1 of many", "v2 floats", "form")]
    expected = [each.json() for each in digits.predict([fresh(each) for each in requests])]
    with Harness(store / "digits-eager.mar", batch_size=8) as eager:
        answers = [each.json() for each in eager.predict([fresh(each) for each in requests])]
        assert eager.describe()["runtime"] == "eager"
    for body in (*answers, *expected):
        body.pop("model_name", None)
    assert all(map(same, answers, expected))


def test_limits_are_kept(digits_archive: Path, tmp_path: Path) -> None:
    limits = {"max_answer_bytes": 300, "max_instances": 8, "max_pixels": 600, "threads": 1}
    archive = configured(
        digits_archive, tmp_path / "digits.mar", lambda config: config["handler"].update(limits)
    )
    long = Request.json({"instances": [TEXTS[0]] * 8, "parameters": {"top_k": 10}})
    many = Request.json({"instances": [TEXTS[0]] * 9, "parameters": {"top_k": 1}})
    large = Request.raw(png_header(30, 21))
    with Harness(archive, batch_size=8) as harness:
        answered, *refused = harness.predict([Request.raw(PNGS[0]), long, many, large])
        assert harness.describe()["threads"] == 1
    assert answered.status == 200
    for response, words in zip(
        refused,
        ("at most 300 are allowed", "at most 8 are allowed", "larger than 600 pixels"),
        strict=True,
    ):
        check_refused(response)
        assert response.status == 413
        assert words in response.json()["error"]
