"""What a build is shown beside: samples before and after it, and the build before."""

from __future__ import annotations

from dataclasses import dataclass

from marsmith.report.measurements import Timing


@dataclass(frozen=True)
class ShownSample:
    """A sample, and what the original and the shipped model answer to it.

    Attributes:
        index: its place in the data, from 0.
        text: what was sent, or its beginning; of a picture, its form.
        picture: a small PNG of what was sent, as a `data:` URI; empty where it is no picture.
        expected: the right answer; None where nobody knows it.
        before: what the original answers; JSON, or its beginning.
        after: what the shipped model answers.
        decided: whether both decide for the same; None where an answer is no decision.
        difference: the largest of their numbers'; None where they have other parts.
    """

    index: int
    text: str
    picture: str
    expected: str | None
    before: str
    after: str
    decided: bool | None
    difference: float | None


@dataclass(frozen=True)
class AnswerComparison:
    """How the shipped model's answers differ from the original's.

    Attributes:
        samples: how many were compared.
        changed: how many are decided otherwise; None where answers are no decisions.
        shown: those that differ most, the worst first.
    """

    samples: int
    changed: int | None
    shown: tuple[ShownSample, ...]


@dataclass(frozen=True)
class EarlierBuild:
    """What the report that a build replaces says of the archive of then.

    Attributes:
        sha256: of that archive.
        bytes: its size.
        candidate: what was shipped, such as "onnx:int8".
        metric: of it; None without one.
        min_cosine: of its outputs to the original's; None where it wasn't measured.
        compared_on: how many samples of what, in words.
        timing: how fast it was, on the machine of then.
        model_bytes: the size of its model.
        cpu: of the machine of then.
        versions: of the packages that it was made with.
    """

    sha256: str
    bytes: int
    candidate: str
    metric: float | None
    min_cosine: float | None
    compared_on: str
    timing: Timing | None
    model_bytes: int | None
    cpu: str
    versions: dict[str, str]
