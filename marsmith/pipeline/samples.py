"""Samples whose answers a conversion has changed most, for people to look at."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from marsmith.client.comparison import difference
from marsmith.errors import MarsmithError
from marsmith.report.comparisons import AnswerComparison, EarlierBuild, ShownSample
from marsmith.report.doubts import basis
from marsmith.report.report import Report
from marsmith.verify.evaluation import Data

SHOWN = 6
LONGEST = 240  # characters of a text or an answer
SIDE = 96  # pixels
MOST_PIXELS = 50_000_000


def compared(data: Data, before: Sequence[object], after: Sequence[object]) -> AnswerComparison:
    """Compare the answers of two models to the same samples.

    Args:
        data: the samples.
        before: the original's answers, JSON data.
        after: the shipped model's, in the same order.
    """
    gaps = [difference(now, then) for then, now in zip(before, after, strict=True)]
    decided = [_decided(then, now) for then, now in zip(before, after, strict=True)]
    worst = sorted(range(len(gaps)), key=lambda i: (decided[i] is not False, -gaps[i], i))
    shown = [
        ShownSample(
            index=index,
            text=_text(data.bodies[index]),
            picture=picture(data.bodies[index]),
            expected=None if data.expected is None else _short(data.expected[index]),
            before=_short(before[index]),
            after=_short(after[index]),
            decided=decided[index],
            difference=gaps[index] if math.isfinite(gaps[index]) else None,
        )
        for index in worst[:SHOWN]
    ]
    known = [each for each in decided if each is not None]
    changed = known.count(False) if len(known) == len(gaps) else None
    return AnswerComparison(len(gaps), changed, tuple(shown))


def _decided(before: object, after: object) -> bool | None:
    """Whether two answers have the same first label; None where they rank no labels."""
    first, other = _label(before), _label(after)
    return None if first is None or other is None else first == other


def _label(answer: object) -> str | None:
    if not isinstance(answer, Mapping) or not answer:
        return None
    numbers = all(isinstance(each, (int, float)) for each in answer.values())
    return str(next(iter(answer))) if numbers else None


def _short(value: object) -> str:
    if not isinstance(value, str):
        value = json.dumps(_rounded(value), ensure_ascii=False, default=str)
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"


def _rounded(value: object) -> object:
    """The same JSON, with as many digits as people read."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, (list, tuple)) else value


def _text(body: bytes) -> str:
    """What a request body says; of bytes that are no text, how many there are."""
    try:
        text = body[: 4 * LONGEST].decode("utf-8", "strict" if len(body) < LONGEST else "ignore")
    except UnicodeDecodeError:
        text = "\0"
    printable = text.replace("\n", " ").replace("\t", " ")
    return _short(printable) if printable.isprintable() else f"{len(body):,} bytes"


def picture(body: bytes) -> str:
    """A small PNG of an image, as a `data:` URI; empty for what is no image."""
    try:
        with Image.open(io.BytesIO(body)) as image:
            if image.width * image.height > MOST_PIXELS:
                return ""
            image.thumbnail((SIDE, SIDE))
            small = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def earlier(path: Path) -> EarlierBuild | None:
    """What the report of the build before says; None where there is none that can be read."""
    try:
        report = Report.read(path)
    except MarsmithError:  # of another version, or none: a build doesn't fail for what was
        return None
    shipped = report.shipped
    return EarlierBuild(
        sha256=report.archive.sha256,
        bytes=report.archive.bytes,
        candidate=shipped.candidate,
        metric=shipped.metric,
        min_cosine=shipped.difference.min_cosine if shipped.difference else None,
        compared_on=basis(report),
        timing=shipped.timing,
        model_bytes=shipped.bytes,
        cpu=report.environment.cpu,
        versions=dict(report.versions),
    )
