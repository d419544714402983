from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import runtimes
from marsmith import converters
from marsmith.cache import Cache
from marsmith.errors import BuildError, UnsupportedError
from marsmith.pipeline.original import Prepared, prepare
from marsmith.pipeline.trials import attempt, captured, foreseen
from marsmith.recipe.candidate import Candidate
from marsmith.recipe.sections import Accept, Recipe

EAGER, TORCHSCRIPT = Candidate("eager", "fp32"), Candidate("torchscript", "fp32")


@pytest.fixture(scope="module")
def prepared(
    digits_recipe: Recipe, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Prepared:
    """The prepared of digits, with an empty cache of its own."""
    accept = Accept(max_abs_error=0.0001, metric_max_drop=0.005)
    recipe = digits_recipe.model_copy(update={"accept": accept})
    found = prepare(recipe, store / ".cache", tmp_path_factory.mktemp("work"), lambda line: None)
    cache = Cache(tmp_path_factory.mktemp("cache"))
    return replace(found, cache=cache, logs=tmp_path_factory.mktemp("logs"))


def test_an_admissible_candidate_is_measured(prepared: Prepared) -> None:
    trial = attempt(TORCHSCRIPT, prepared)
    assert (trial.status, trial.error) == ("admissible", None)
    assert trial.measured.metric is not None
    assert trial.measured.metric >= 0.98
    assert trial.measured.difference.max_abs_error <= 1e-4
    assert trial.converted.size > 10_000


def test_what_is_foreseen_to_be_skipped_is_skipped(prepared: Prepared) -> None:
    job = replace(prepared.job, calibration=[], instructions=frozenset())
    without = replace(prepared, job=job, made_from="without")
    pairs = [("eager", "int8"), ("eager", "bf16"), ("torchscript", "int8"), ("eager", "fp32")]
    candidates = [Candidate(runtime, precision) for runtime, precision in pairs]
    found = foreseen(candidates, without)
    assert list(found.values()) == [["eager:int8"], ["eager:bf16"], ["torchscript:int8"]]
    assert "eager has no int8" in found
    for candidate in candidates:
        skipped = attempt(candidate, without).status == "skipped"
        assert skipped == any(str(candidate) in names for names in found.values())


def test_a_second_attempt_converts_and_measures_nothing_again(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = attempt(TORCHSCRIPT, prepared)

    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(converters.find("torchscript"), "convert", never)
    monkeypatch.setattr(type(prepared.ladder), "measure", never)
    after = attempt(TORCHSCRIPT, prepared)
    assert after.status == "admissible"
    assert after.rung == before.rung
    assert after.answers == before.answers


@pytest.mark.parametrize(
    "change", [{"made_from": "other weights"}, {"measured_on": "other data"}], ids=str
)
def test_what_changed_is_done_again(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    attempt(TORCHSCRIPT, prepared)
    done = []
    measure = type(prepared.ladder).measure

    def counted(*args: Any) -> Any:
        done.append(args)
        return measure(*args)

    monkeypatch.setattr(type(prepared.ladder), "measure", counted)
    attempt(TORCHSCRIPT, replace(prepared, **change))
    assert len(done) == 1


def test_perturbed_weights_are_refused_by_their_number(prepared: Prepared) -> None:
    broken = type(prepared.job.module)()
    broken.load_state_dict(prepared.job.module.state_dict())
    with torch.no_grad():
        broken.get_parameter("classifier.weight").add_(torch.randn(10, 512), alpha=0.05)
    job = replace(prepared.job, module=broken.eval())
    trial = attempt(TORCHSCRIPT, replace(prepared, job=job, made_from="broken"))
    assert trial.status == "refused"
    assert "max_abs_error 0.0001" in trial.verdict
    assert trial.measured.difference.max_abs_error > 1e-4
    assert trial.runtime is None


def test_a_bound_that_only_one_misses_refuses_only_that_one(prepared: Prepared) -> None:
    strict = prepared.recipe.model_copy(update={"accept": Accept(max_abs_error=1e-6)})
    halved = Candidate("eager", "fp16")  # half of the bits
    assert attempt(halved, replace(prepared, recipe=strict)).status == "refused"
    lenient = prepared.recipe.model_copy(update={"accept": Accept(max_abs_error=1.0)})
    assert attempt(halved, replace(prepared, recipe=lenient)).status == "admissible"


@pytest.mark.parametrize(
    "runtime",
    [each for each in runtimes.known() if "bf16" in converters.find(each).PRECISIONS],
)
def test_bf16_is_skipped_where_the_cpu_would_emulate_it(prepared: Prepared, runtime: str) -> None:
    without = replace(prepared.job, instructions=frozenset({"vnni"}))
    trial = attempt(
        Candidate(runtime, "bf16"), replace(prepared, job=without, made_from="without bf16")
    )
    assert (trial.status, trial.verdict) == ("skipped", "this CPU has no bf16 instructions")


def test_bf16_is_tried_where_the_cpu_has_it_and_says_what_it_needs(prepared: Prepared) -> None:
    has = replace(prepared.job, instructions=frozenset({"bf16"}))
    lenient = prepared.recipe.model_copy(update={"accept": Accept()})
    given = replace(prepared, job=has, made_from="with bf16", recipe=lenient)
    for _ in ("converted", "kept"):
        trial = attempt(Candidate("eager", "bf16"), given)
        assert (trial.status, trial.error) == ("admissible", None)
        assert trial.converted.instructions == ("bf16",)
    assert attempt(EAGER, given).converted.instructions == ()


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ValueError("no kernel\nfor this"), "failed", "broke: ValueError: no kernel"),
        (BuildError("operator x"), "failed", "operator x"),
        (UnsupportedError("no compiler", "apt-get"), "skipped", "no compiler"),
    ],
)
def test_a_conversion_that_breaks_is_a_line_and_a_log(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, error: Exception, status: str, words: str
) -> None:
    def breaks(*_: Any) -> None:
        print("the engine's last words")
        raise error

    monkeypatch.setattr(converters.find("eager"), "convert", breaks)
    trial = attempt(EAGER, replace(prepared, made_from=words))
    assert trial.status == status
    assert words in trial.verdict
    assert "\n" not in trial.verdict
    assert "last words" in trial.log.read_text()
    assert not list(prepared.cache.folder.glob(".*"))


def test_a_precision_that_a_runtime_has_not_is_skipped(prepared: Prepared) -> None:
    trial = attempt(Candidate("eager", "int8"), prepared)
    assert trial.status == "skipped"
    assert "fp32" in trial.verdict


def test_what_engines_write_goes_to_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with captured(tmp_path / "logs" / "x.log"):
        print("from Python")
        os.write(2, b"from C++\n")
        subprocess.run([sys.executable, "-c", "print('from a process')"], check=True)
    print("afterwards")
    assert capfd.readouterr().out == "afterwards\n"
    log = (tmp_path / "logs" / "x.log").read_text()
    assert {"from Python", "from C++", "from a process"} <= set(log.splitlines())
