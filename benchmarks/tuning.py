"""How good is what `marsmith tune` chooses in a share of the time that brute force takes?

Brute force serves every setting of tune's own space and bisects the rate that each holds under the
p99. Then tune searches the same space from nothing, and gets 15 % of that time.

    marsmith build archiver_configs/digits.yaml     # and the others
    python -m benchmarks.tuning [digits minilm breast_cancer] [--batch-size 8] [--share 0.15]

A smaller `--batch-size` bounds the space of both.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers import cpu
from marsmith.bench import figures, measure, target
from marsmith.bench.figures import Summary
from marsmith.bench.measure import Traffic
from marsmith.errors import MeasurementError, ServerError
from marsmith.recipe import reading
from marsmith.recipe.sections import Recipe
from marsmith.serving.host import settings as host_settings
from marsmith.tune import search, settings, tune
from marsmith.tune.groups import Groups
from marsmith.tune.search import Found, Tried

ROOT = Path(__file__).resolve().parents[1]
P99_MS = {"digits": 40.0, "minilm": 250.0, "breast_cancer": 40.0}
"""What is asked of each: some times as long as one answer takes alone."""


@dataclass(frozen=True)
class Brute:
    """What came of brute force.

    Attributes:
        found: the figures of every setting.
        seconds: how long it took.
    """

    found: Found
    seconds: float

    def held(self, name: str | None) -> float:
        """The rate that a setting holds; 0 where it wasn't shown to hold any."""
        known = self.found.held.get(name or "")
        return known.per_s if known else 0.0


def brute_force(recipe: Recipe, archive: Path, p99_ms: float, connections: int) -> Brute:
    """Serve every setting, and bisect the rate that it holds.

    Args:
        recipe: of the archive; its held-out data is sent.
        archive: as `marsmith build` made it.
        p99_ms: 99 of 100 answers must come within.
        connections: of the closed loop that says where a bisection begins.
    """
    began, bodies = time.monotonic(), target.held_out(recipe)
    ways = {each.name: each for each in settings.space(recipe.serving)}
    tried: dict[str, Tried] = {}
    rates: dict[str, search.Held] = {}

    def run(name: str, traffic: Traffic) -> Summary:
        endpoint = target.of_model(groups.server_of(name), name, bodies, "held-out data")
        say(f"{ways[name]}: {traffic.words()}")
        return figures.of(measure.once(endpoint, traffic), traffic.warm_up_s)

    def room() -> int:
        return min(tune.PER_CORE * cpu.cores(), host_settings.room(archive))

    with Groups(
        ways, lambda names: tune.served(recipe, archive, {n: ways[n] for n in names}, say), room
    ) as groups:
        for name in ways:
            try:
                figure = run(name, Traffic(connections=connections, seconds=tune.PROBE_S))
            except (MeasurementError, ServerError) as error:
                tried[name] = Tried(out=error.message)
                continue
            tried[name] = Tried((figure,))
            alone = Found({name: tried[name]}, {}, name, sure=True, why="")
            tune.bounded(alone, run, p99_ms, rates, lambda: True)
    best = max(rates, key=lambda name: rates[name].per_s, default=None)
    found = Found(tried, rates, best, sure=False, why=f"the highest rate within {p99_ms:g} ms")
    return Brute(found, time.monotonic() - began)


def compared(name: str, p99_ms: float, options: argparse.Namespace) -> dict[str, Any]:
    """Search by brute force, then tune the recipe; everything that was found."""
    recipe = reading.load(ROOT / "archiver_configs" / f"{name}.yaml")
    size = min(recipe.serving.batch_size, options.batch_size)
    recipe = recipe.model_copy(
        update={"serving": recipe.serving.model_copy(update={"batch_size": size})}
    )
    archive = options.model_store / f"{name}.mar"
    if not archive.exists():
        raise SystemExit(f"there is no {archive}: marsmith build archiver_configs/{name}.yaml")
    load = os.getloadavg()[0]
    brute = brute_force(recipe, archive, p99_ms, options.connections)
    minutes = options.share * brute.seconds / 60
    tuned = tune.tune(
        recipe, archive, p99_ms=p99_ms, connections=options.connections, minutes=minutes, say=say
    )
    chosen = tuned.found.best
    return {
        "model": name,
        "p99_ms": p99_ms,
        "settings": len(tuned.settings),
        "load_before": load,
        "tune": dataclasses.asdict(tuned),
        "brute_force": dataclasses.asdict(brute),
        "tune_chose": chosen,
        "tune_holds": tuned.found.held[chosen].per_s if chosen else 0.0,
        "tune_why": tuned.found.why,
        "tune_sure": tuned.found.sure,
        "tune_s": round(tuned.seconds),
        "brute_chose": brute.found.best,
        "brute_holds": brute.held(brute.found.best),
        "brute_holds_of_tunes": brute.held(chosen),
        "brute_s": round(brute.seconds),
    }


def table(found: Sequence[dict[str, Any]]) -> None:
    """Print a line for each model, as Markdown."""
    print(f"cores: {cpu.cores()}; instructions: {', '.join(sorted(cpu.instructions()))}\n")
    print(
        "| | settings | p99 ms | brute force's best | holds/s | tune's choice | holds/s | "
        "the same as brute force measured it | of the best | tune s | brute force s | share |"
    )
    print("|---" * 12 + "|")
    for each in found:
        best = each["brute_holds"] or float("nan")
        cells = [
            each["model"], each["settings"], f"{each['p99_ms']:g}", each["brute_chose"],
            f"{best:.1f}", each["tune_chose"], f"{each['tune_holds']:.1f}",
            f"{each['brute_holds_of_tunes']:.1f}", f"{each['brute_holds_of_tunes'] / best:.2f}",
            each["tune_s"], each["brute_s"], f"{each['tune_s'] / each['brute_s']:.0%}",
        ]  # fmt: skip
        print("| " + " | ".join(map(str, cells)) + " |")


def say(line: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Compare model after model; what was found is kept as each ends."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("models", nargs="*", default=[*P99_MS], metavar="MODEL")
    parser.add_argument("--p99-ms", type=float, help="instead of each model's own")
    parser.add_argument("--batch-size", type=int, default=32, help="the most, of either's space")
    parser.add_argument("--share", type=float, default=0.15, help="of brute force's time, for tune")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--model-store", type=Path, default=Path("model_store"))
    parser.add_argument("--out", type=Path, default=Path("tuning.json"))
    options = parser.parse_args()
    unknown = set(options.models) - set(P99_MS)
    if unknown and options.p99_ms is None:
        raise SystemExit(f"say --p99-ms for {', '.join(sorted(unknown))}")
    found = []
    for name in options.models:
        p99_ms = options.p99_ms or P99_MS[name]
        found.append(compared(name, p99_ms, options))
        options.out.write_text(json.dumps(found, indent=2))
    table(found)


if __name__ == "__main__":
    main()
