"""Int8 that misses a bound, again: with the fewest layers left in float32 that let it keep all."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from marsmith import converters
from marsmith.cache import code_of, key_of
from marsmith.converters import Harms
from marsmith.errors import MarsmithError
from marsmith.pipeline.original import Prepared
from marsmith.pipeline.trials import Trial, attempt, versions
from marsmith.report.measurements import LayerHarm

SEARCH_S = 1800.0  # after that no further conversion begins
LARGEST_SHARE = 2  # at most one half of the layers: with more, little is left that is faster

Say = Callable[[str], None]


def mended(trial: Trial, prepared: Prepared, say: Say) -> Trial:
    """Try a static int8 that was refused again, with some of its layers in float32.

    The layers are taken in the order of the harm that each does by itself. How many of them are
    needed is found by doubling, and then by bisection.

    Args:
        trial: of any candidate; only what was refused, and can be mended so, is tried again.
        prepared: what it was made from.
        say: takes one line as each step begins.

    Returns:
        The admissible trial with the fewest layers kept; if there is none, the first one, whose
        verdict says what was tried.
    """
    converter = converters.find(trial.candidate.runtime)
    harms: Harms | None = getattr(converter, "harms", None)
    if trial.status != "refused" or trial.candidate.precision != "int8" or harms is None:
        return trial
    try:
        layers = measured(harms, prepared, say)
    except MarsmithError as error:
        return replace(trial, verdict=f"{trial.verdict}; its layers weren't measured: {error}")
    ranked = sorted(layers, key=lambda each: -each.harm)

    def kept(count: int) -> Trial:
        said = f"{count} of {len(ranked)} layers in float32"
        say(f"convert to {trial.candidate} with {said}, and compare")
        names = tuple(each.name for each in ranked[:count])
        made = key_of(prepared.made_from, names)
        job = replace(prepared.job, kept=names)
        again = attempt(trial.candidate, replace(prepared, job=job, made_from=made))
        if again.status != "admissible":
            return again
        return replace(again, kept=tuple(ranked[:count]), verdict=said)

    found, tried = fewest(kept, max(1, len(ranked) // LARGEST_SHARE))
    if found is not None:
        return found
    said = f"also with {tried} of its {len(ranked)} layers in float32"
    return replace(trial, verdict=f"{trial.verdict}; {said}")


def fewest(
    kept: Callable[[int], Trial], most: int, seconds: float = SEARCH_S
) -> tuple[Trial | None, int]:
    """Find the least count that gives an admissible trial, where more never do worse.

    Args:
        kept: tries a count of at least 1.
        most: the largest count to try.
        seconds: after that the best so far is taken.

    Returns:
        The trial, and the largest count that failed; None if all failed.
    """
    until = time.monotonic() + seconds
    failed, count, found = 0, 1, None
    best = most + 1
    while failed < best - 1 and (failed == 0 or time.monotonic() < until):
        trial = kept(count)
        if trial.status == "admissible":
            found, best = trial, count
        else:
            failed = count
        count = (failed + best) // 2 if found else min(2 * count, most)
    return found, failed


def measured(harms: Harms, prepared: Prepared, say: Say) -> Sequence[LayerHarm]:
    """Measure the harm of each layer, unless that was done before.

    Raises:
        MarsmithError: the model can't be measured so.
    """
    code = code_of(harms.__module__)
    key = f"harms-{key_of(prepared.made_from, versions('onnx'), code)}"
    folder = prepared.cache.find(key)
    if folder is None:
        say("measure what int8 does to each layer")
        with prepared.cache.keep(key) as unfinished:
            found = [dataclasses.asdict(each) for each in harms(prepared.job)]
            (unfinished / "layers.json").write_text(json.dumps(found), "utf-8")
        folder = prepared.cache.folder / key
    data = json.loads((folder / "layers.json").read_text("utf-8"))
    return [LayerHarm(**each) for each in data]
