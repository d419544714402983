"""Ask contenders, in turns: are their answers the same, and what do they hold?"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import httpx

from benchmarks.peers.models import answer
from marsmith.bench.figures import Summary
from marsmith.bench.measure import Traffic, measure
from marsmith.bench.target import Endpoint
from marsmith.errors import MarsmithError

START_S = 180.0
CHECKED = 16  # bodies whose answers are compared before anything is measured
Peer = Callable[[], AbstractContextManager[Endpoint]]
Found = Mapping[str, Mapping[str, Sequence[Summary]]]
"""Runs, by contender and by how many connections there were."""


def answers(endpoint: Endpoint, most: int = CHECKED) -> list[Any]:
    """Ask until it answers, then the first bodies once each.

    Args:
        endpoint: may be starting still.
        most: bodies.

    Raises:
        MarsmithError: it gives no answer.
    """
    found: list[Any] = []
    until = time.monotonic() + START_S
    with httpx.Client(timeout=60) as client:
        for body in (endpoint.bodies[0], *endpoint.bodies[:most]):
            headers = {**endpoint.headers, "Content-Type": body.media_type}
            while True:
                try:
                    said = client.post(endpoint.url, content=body.content, headers=headers)
                    if said.status_code == 200:
                        break
                    why = f"{said.status_code}: {said.text[:500]}"
                except httpx.TransportError as error:
                    why = f"{type(error).__name__}: {error}"
                if time.monotonic() > until or found:
                    raise MarsmithError(f"no answer: {why}")
                time.sleep(0.3)
            try:
                found.append(answer(said.content))
            except ValueError as error:
                raise MarsmithError(f"it answered {said.text[:200]!r}, no JSON") from error
    return found[1:]


def loaded(endpoint: Endpoint, connections: int, seconds: float, *, tokens: bool) -> Summary:
    """Put a load on a server; nothing may fail.

    Args:
        endpoint: where it answers.
        connections: how many clients ask, one request after another each.
        seconds: for how long.
        tokens: whether tokens are counted: those that are read are no rate.

    Raises:
        MarsmithError: an answer was none, or the load's generator lagged.
    """
    traffic = Traffic(connections=connections, seconds=seconds)
    (figures,) = measure(endpoint, traffic, 1)[0].runs
    if figures.errors:
        raise MarsmithError(f"requests failed: {dict(figures.errors)}")
    return figures if tokens else dataclasses.replace(figures, tokens_per_s=None)


def say(line: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def rate(run: Summary) -> float:
    """Tokens per second where answers have some, else answers per second."""
    return run.per_s if run.tokens_per_s is None else run.tokens_per_s


def words(run: Summary) -> str:
    """A run in words."""
    return f"{rate(run):.1f}/s, p50 {run.p50_ms:.2f} ms, p99 {run.p99_ms:.2f} ms"


def dumped(found: Found) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Runs as JSON has them."""
    return {
        name: {count: [*map(dataclasses.asdict, runs)] for count, runs in figures.items()}
        for name, figures in found.items()
    }


def table(found: Found, first: str) -> str:
    """Medians as Markdown, and how many times a contender's rate that of the first is."""
    counts = [*found[first]]
    tokens = any(run.tokens_per_s for runs in found[first].values() for run in runs)
    unit = "tokens/s" if tokens else "answers/s"
    heads = [
        f"{each} connections, {unit} (rounds) | {first} × | p50 ms | p99 ms" for each in counts
    ]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (1 + 4 * len(counts)) + "|"]
    for name, figures in found.items():
        cells = []
        for count in counts:
            runs = figures.get(count, [])
            if not runs:
                cells += ["-"] * 4
                continue
            median = statistics.median(map(rate, runs))
            most = statistics.median(map(rate, found[first][count]))
            rounds = ", ".join(f"{rate(run):.1f}" for run in runs)
            cells += [f"{median:.1f} ({rounds})", f"{most / median:.2f}"]
            cells.append(f"{statistics.median(run.p50_ms for run in runs):.2f}")
            cells.append(f"{statistics.median(run.p99_ms for run in runs):.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
