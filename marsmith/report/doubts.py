"""What figures alone would hide: said loudly wherever they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from marsmith.report.measurements import BUSY
from marsmith.report.words import counted, times

if TYPE_CHECKING:
    from marsmith.report.report import Report

SLOWER = 0.97  # two timings of one model differ by as much
NAMED = 3  # of the random weights


@dataclass(frozen=True)
class Doubt:
    """A reason to trust a report's figures less than they look.

    Attributes:
        title: in a few words.
        said: what it means, in a sentence.
        hint: what to do about it.
    """

    title: str
    said: str
    hint: str


def held_out(report: Report) -> bool:
    """Whether the recipe named data to compare on; else it was the task's own example."""
    return report.metric is not None or "evaluation" in report.provenance.data


def basis(report: Report) -> str:
    """What was compared, in words: "360 held-out samples"."""
    if held_out(report):
        return counted(report.samples, "held-out sample")
    return counted(report.samples, "example, no held-out data", "examples, no held-out data")


def doubtful(report: Report) -> str:
    """The basis, where a cosine must not be said without it; else empty."""
    return "" if held_out(report) and report.samples > 1 else basis(report)


def doubts(report: Report) -> list[Doubt]:
    """All reasons to trust a report's figures less, the gravest first."""
    found = [
        _weights(report), *_data(report), *_calibration(report), _speed(report), _order(report)
    ]  # fmt: skip
    return [each for each in found if each]


def _weights(report: Report) -> Doubt | None:
    names = report.random
    if not names:
        return None
    some = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    return Doubt(
        "random weights",
        f"{counted(len(names), 'tensor')} of the module {'is' if len(names) == 1 else 'are'} as"
        f" chance made {'it' if len(names) == 1 else 'them'}: {some}. Nothing has trained or"
        " loaded them, so its answers mean nothing.",
        "name a `checkpoint` or `train` in the recipe's `source`",
    )


def _data(report: Report) -> list[Doubt]:
    if not held_out(report):
        said = "the task's own made-up example is all that was compared; how good the answers to"
        return [
            Doubt(
                "no held-out data",
                f"{said} real requests are, and how far conversion changes them, isn't known.",
                "name `data`, and a `metric`, in the recipe's `evaluation`",
            )
        ]
    found = []
    if report.strange_labels:
        some = ", ".join(map(repr, report.strange_labels[:NAMED]))
        said = f"no label of the model is called {some}, which the data says is right: each such"
        found.append(
            Doubt(
                "labels that the model doesn't have",
                f"{said} sample counts as wrong.",
                "name the model's labels in `handler.labels`, a JSON file that `files` lists",
            )
        )
    if report.unscored:
        said = f"{counted(report.unscored, 'right answer')} came with the data, and none was used."
        hint = "name a `metric` in the recipe's `evaluation`; `marsmith metrics` lists them"
        found.append(Doubt("answers that nothing scores", said, hint))
    if report.samples == 1:
        said = "a single one says next to nothing of the answers to others."
        hint = "let `evaluation.data` return some hundreds"
        found.append(Doubt("one sample only", said, hint))
    return found


def _calibration(report: Report) -> list[Doubt]:
    data, skipped = report.provenance.data, report.candidates
    if (used := data.get("calibration")) is None:
        named = [e.candidate for e in skipped if e.precision == "int8" and e.status == "skipped"]
        if named:
            said = f"static int8, often the fastest, couldn't be tried: {', '.join(named)}."
            hint = "name `data` that isn't the evaluation's in the recipe's `calibration`"
            return [Doubt("no calibration data", said, hint)]
    found = []
    for name, use in (("calibration", "int8 took its ranges from"), ("training", "passes learnt")):
        if (used := data.get(name)) is not None and used == data.get("evaluation"):
            said = f"{use} the very data that it was then compared on: figures are too good."
            found.append(Doubt(f"{name} on the held-out data", said, "give each data of its own"))
    return found


def _speed(report: Report) -> Doubt | None:
    timing, original = report.shipped.timing, report.original
    if timing is None:
        return None
    faster = timing.samples_per_s / original.samples_per_s if original.samples_per_s else 1.0
    sooner = original.p50_ms / timing.p50_ms if timing.p50_ms else 1.0
    said = [
        f"{times(ratio)}× the original's {what}"
        for ratio, what in ((faster, "throughput"), (sooner, "speed at batch 1"))
        if ratio < SLOWER
    ]
    if not said:
        return None
    hint = "try more with `runtime: auto`, or another `objective`"
    return Doubt("slower than the original", f"what is shipped has {', '.join(said)}.", hint)


def _order(report: Report) -> Doubt | None:
    timed = report.timed
    if timed is None:
        return None
    said, title, cores = [], "a busy machine", report.environment.cores
    if timed.unsure:
        title = "the fastest isn't sure"
        said.append(
            f"{', '.join(timed.unsure)} scatter so much that {timed.rounds} rounds of each, in"
            " turns, don't tell which is the fastest"
        )
    if timed.others and timed.others > BUSY * cores:
        said.append(
            f"others took {timed.others:.1f} of {counted(cores, 'core')} meanwhile, so speeds are"
            " less than this machine can do"
        )
    hint = "build again while nothing else runs; what was converted is kept"
    return Doubt(title, f"{'; '.join(said)}.", hint) if said else None
