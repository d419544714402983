"""What is measured of a model in one form: how its outputs differ, and how fast it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UNTOUCHED, ORIGINAL, FOLDED = "untouched", "original", "folded"


@dataclass(frozen=True)
class Difference:
    """How one output differs from the original's.

    Attributes:
        max_abs_error: the largest absolute difference of any number.
        max_rel_error: `max_abs_error` over the largest magnitude of the original's output.
        min_cosine: the smallest cosine similarity of a sample's output, in [-1, 1].
    """

    max_abs_error: float = 0.0
    max_rel_error: float = 0.0
    min_cosine: float = 1.0

    def worst(self, other: Difference) -> Difference:
        """Return the worse of each figure."""
        return Difference(
            max(self.max_abs_error, other.max_abs_error),
            max(self.max_rel_error, other.max_rel_error),
            min(self.min_cosine, other.min_cosine),
        )


@dataclass(frozen=True)
class Rung:
    """What was measured of the model in one form.

    Attributes:
        name: "untouched", the user's own model without any part of ours; "original", "passes",
            "folded", with what the handler leaves to the model; a candidate such as "onnx:int8",
            "archived" or "served".
        metric: the recipe's metric; None without one.
        difference: the worst of all outputs; where outputs can't be seen, that of the answers from
            the candidate's, with `max_abs_error` alone.
        outputs: the difference of each output; empty where outputs can't be seen.
        batch_sizes: the batch sizes that were compared.
        samples: how many samples were compared.
        spread: the largest difference between a sample's answers alone and in a batch. It exceeds
            rounding where dynamic quantisation takes its ranges from the whole batch, and is
            infinite where an answer has other labels.
        by: of "untouched", who says it: "the file itself, run by ONNX Runtime".
    """

    name: str
    metric: float | None
    difference: Difference
    outputs: Mapping[str, Difference]
    batch_sizes: tuple[int, ...]
    samples: int
    spread: float = 0.0
    by: str = ""


@dataclass(frozen=True)
class LayerHarm:
    """A layer that int8 may leave in float32.

    Attributes:
        name: its node's, in the ONNX export.
        title: its name in the module, where that is known.
        harm: the power of the error that its rounding alone makes in the model's outputs, as a
            share of their own; 0 is none.
    """

    name: str
    title: str
    harm: float


@dataclass(frozen=True)
class Timing:
    """How fast a model alone is, on this machine, in this build.

    Attributes:
        p50_ms: the median time of a batch of one, in milliseconds.
        samples_per_s: samples a second at the median time of a batch of `batch_size`.
        batch_size: the batch size of `samples_per_s`.
        threads: how many threads each call may use.
        p99_ms: the 99th percentile of the time of a batch of `batch_size`.
    """

    p50_ms: float
    samples_per_s: float
    batch_size: int
    threads: int
    p99_ms: float | None = None


EQUAL = 1.03
"""Times the fastest: two runs of the same model differ by more."""
BUSY = 0.25
"""Of the cores, taken by others: then figures of speed are not what the machine can do."""


@dataclass(frozen=True)
class Timed:
    """How candidates were timed, and how sure it is which is the fastest.

    Attributes:
        rounds: how often those were timed that may be the fastest.
        unsure: candidates whose rounds scatter so much that which of them is the fastest, by more
            than 3 %, isn't known; empty where it is.
        others: cores that other processes took meanwhile; None where that can't be told.
    """

    rounds: int
    unsure: tuple[str, ...] = ()
    others: float | None = None


GAIN = 1.25
"""Of workers that share the cores; less is worth neither the memory nor a lone client's waiting for
one core."""


@dataclass(frozen=True)
class Workers:
    """How much the archive answers in this machine's workers, in this build.

    Attributes:
        count: how many workers shared the cores.
        together_per_s: requests a second of one worker with all cores.
        apart_per_s: requests a second of all those that shared them.
    """

    count: int
    together_per_s: float
    apart_per_s: float

    @property
    def gain(self) -> float:
        """How many times as much those answer that share the cores."""
        return self.apart_per_s / self.together_per_s

    @property
    def per_core(self) -> bool:
        """Whether that is worth a worker for each core."""
        return self.gain >= GAIN
