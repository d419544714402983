"""Two archives side by side: what they carry of themselves, and the reports beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from marsmith.archive.reading import inspect
from marsmith.errors import MarsmithError
from marsmith.report.report import Report
from marsmith.report.words import number

Pair = tuple[Any, Any]
OURS = ("MAR-INF/", "handlers/", "archive_entry.py", "model-config.yaml")  # not the model's own
MEASURED = ("p50 ms at batch 1", "samples/s", "measured on")
UNKNOWN = "not known"


def compare(before: Path, after: Path) -> dict[str, Pair]:
    """Compare two archives.

    Args:
        before: a `.mar`; its speed is known where its own report lies beside it.
        after: the other.

    Returns:
        By the name of each figure, that of the one and of the other; None where it isn't known.

    Raises:
        ArchiveError: one of them is no sound archive.
        MarsmithError: one of them wasn't made by `marsmith build`.
    """
    one, other = dict(_figures(before)), dict(_figures(after))
    names = [*one, *(name for name in other if name not in one)]
    return {name: (one.get(name), other.get(name)) for name in names}


def _figures(archive: Path) -> Iterator[tuple[str, Any]]:
    found = inspect(archive)
    facts = found["facts"]
    if not isinstance(facts, Mapping) or "provenance" not in facts:
        raise MarsmithError(
            f"{archive} doesn't say how it was made", "`marsmith build` writes archives that do"
        )
    for key in ("name", "version", "task", "runtime", "precision", "samples"):
        yield key, facts.get(key)
    form = f"{facts.get('runtime')}:{facts.get('precision')}"
    yield f"metric: {facts.get('metric') or 'none'}", facts.get("measured", {}).get(form)
    yield "least cosine", facts.get("min_cosine", {}).get(form)
    made = facts["provenance"]
    yield "recipe, SHA-256", made.get("recipe")
    yield "commit", made.get("commit")
    for name, file in found["files"].items():
        if not name.startswith(OURS):
            yield f"{name}, SHA-256", file["sha256"]
            yield f"{name}, bytes", file["bytes"]
    yield "archive, SHA-256", found["sha256"]
    yield "archive, bytes", found["bytes"]
    yield from _measured(archive, found["sha256"])
    for name, version in facts.get("versions", {}).items():
        yield f"version of {name}", version


def _measured(archive: Path, sha256: str) -> Iterator[tuple[str, Any]]:
    """What only the report beside an archive says, if it is of these bytes."""
    try:
        report = Report.read(archive.with_suffix(".report.json"))
    except MarsmithError:
        report = None
    if report is None or report.archive.sha256 != sha256:
        yield from ((name, None) for name in ("largest error", *MEASURED))
        return
    shipped = report.shipped
    yield "largest error", shipped.difference.max_abs_error if shipped.difference else None
    timing = shipped.timing
    yield MEASURED[0], timing.p50_ms if timing else None
    yield f"{MEASURED[1]}", timing.samples_per_s if timing else None
    yield MEASURED[2], report.environment.cpu


def told(value: object) -> str:
    """Format a figure for people."""
    if value is None:
        return UNKNOWN
    return number(value, 5) if isinstance(value, float) else str(value)
