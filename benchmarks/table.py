"""The table of README.md, written from the reports of builds: `python -m benchmarks.table`.

Every recipe of archiver_configs/ whose report is in the model store is a line. Figures are the
report's, none of them is taken anew.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from marsmith.recipe import reading
from marsmith.report.report import Report
from marsmith.report.words import fixed, metric_name

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- figures: python -m benchmarks.table -->", "<!-- end of figures -->"
FIRST = "`imagenet`"  # real weights, real photographs: what most readers have come for
HEAD = (
    "| task | recipe | shipped | metric | before | after | MB | p50 ms | × faster |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)


def row(report: Report) -> str:
    """One recipe's line."""
    shipped, archive = report.shipped, report.archive.bytes / 1e6
    before, after = report.first.metric, report.ladder[-1].metric
    if before is None:
        cosine = shipped.difference.min_cosine if shipped.difference else None
        metric, figures = "least cosine", ["", fixed(cosine)]
    else:
        metric, figures = metric_name(report.metric), [fixed(before), fixed(after)]
    p50_ms = shipped.timing.p50_ms if shipped.timing else math.nan
    name = f"[`{report.name}`](archiver_configs/{report.name}.yaml)"
    cells = [f"`{report.task}`", name, shipped.candidate.replace(":", " "), metric, *figures]
    cells += [f"{archive:.1f}", f"{p50_ms:.2g}", f"{report.original.p50_ms / p50_ms:.1f}"]
    return f"| {' | '.join(cells)} |\n"


def table(reports: Sequence[Report]) -> str:
    """All lines, FIRST and then by task and recipe, and the machine that the reports are of."""
    rows = sorted((row(report) for report in reports), key=lambda line: (FIRST not in line, line))
    machines = {
        f"{each.environment.cpu}, {each.environment.threads} of {each.environment.cores} cores"
        for each in reports
    }
    return f"{HEAD}{''.join(rows)}\nMeasured on: {'; '.join(sorted(machines))}.\n"


def write(page: Path, figures: str) -> None:
    """Put the table between its marks in a page.

    Raises:
        ValueError: the page has no marks.
    """
    text = page.read_text("utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} has no lines {BEGIN!r} and {END!r}")
    head, _, rest = text.partition(BEGIN)
    page.write_text(f"{head}{BEGIN}\n{figures}{END}{rest.partition(END)[2]}", "utf-8")


def main() -> None:
    """Write the table into README.md; say which recipes have no report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-store", type=Path, default=ROOT / "model_store")
    arguments = parser.parse_args()
    reports = []
    for path in sorted((ROOT / "archiver_configs").glob("*.yaml")):
        recipe = reading.load(path)
        report = arguments.model_store / f"{recipe.name}.report.json"
        if report.is_file():
            reports.append(Report.read(report))
        else:
            print(f"no report of {recipe.name}: marsmith build {path.relative_to(ROOT)}")
    write(ROOT / "README.md", table(reports))


if __name__ == "__main__":
    main()
