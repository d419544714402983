"""How good is what `marsmith tune` chooses in a share of the time that brute force takes?

Brute force serves every setting of tune's own space and bisects the rate that each holds under the
p99. Then tune searches the same space from nothing, and gets 15 % of that time. The best figure of
many is a lucky one, too: so in the end both choices are served together, and the rate that each
holds is bisected three times, in turns.

    marsmith build archiver_configs/digits.yaml     # and the others
    python -m benchmarks.tuning [minilm resnet50 imagenet] [--batch-size 8] [--share 0.15]

A smaller `--batch-size` bounds the space of both.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.tune import search, settings, tune
from marsmith.tune.groups import Groups
from marsmith.tune.search import Found, Tried

ROOT = Path(__file__).resolve().parents[1]
P99_MS = {"minilm": 250.0, "resnet50": 600.0, "imagenet": 250.0}
"""What is asked of each: some times as long as one answer takes alone. A load's generator that
shares two cores with the server can send what these answer, and not what `digits` does."""
TURNS = 3
"""In which both choices are measured again."""


class Machine:
    """Serves settings of an archive and bisects the rates that they hold.

    Args:
        recipe: of the archive; its held-out data is sent.
        archive: as `marsmith build` made it.
        p99_ms: 99 of 100 answers must come within.
        connections: of the closed loop that says where a bisection begins.
    """

    def __init__(self, recipe: Recipe, archive: Path, p99_ms: float, connections: int) -> None:
        self.recipe, self.archive, self.p99_ms = recipe, archive, p99_ms
        self.connections, self.bodies = connections, target.held_out(recipe)
        self.ways = {each.name: each for each in settings.space(recipe.serving)}

    def measured(self, names: Sequence[str], turns: int = 1) -> list[Found]:
        """What each setting holds, in turns: the figures of every turn.

        Args:
            names: the settings.
            turns: how often each is measured.
        """
        with Groups(
            {name: self.ways[name] for name in names}, self._start, self._room
        ) as self.groups:
            return [self._turn(names) for _ in range(turns)]

    def _turn(self, names: Sequence[str]) -> Found:
        tried: dict[str, Tried] = {}
        rates: dict[str, search.Held] = {}
        for name in names:
            try:
                traffic = Traffic(connections=self.connections, seconds=tune.PROBE_S)
                tried[name] = Tried((self._run(name, traffic),))
            except (MeasurementError, ServerError) as error:
                tried[name] = Tried(out=error.message)
                continue
            alone = Found({name: tried[name]}, {}, name, sure=True, why="")
            tune.bounded(alone, self._run, self.p99_ms, rates, lambda: True)
        best = max(rates, key=lambda name: rates[name].per_s, default=None)
        return Found(tried, rates, best, sure=False, why="")

    def _run(self, name: str, traffic: Traffic) -> Summary:
        endpoint = target.of_model(self.groups.server_of(name), name, self.bodies, "held-out data")
        say(f"{self.ways[name]}: {traffic.words()}")
        return figures.of(measure.once(endpoint, traffic), traffic.warm_up_s)

    @contextmanager
    def _start(self, names: Sequence[str]) -> Iterator[ServerInfo]:
        ways = {name: self.ways[name] for name in names}
        with tune.served(self.recipe, self.archive, ways, say) as info:
            endpoint = target.of_model(info, names[0], self.bodies, "held-out data")
            tune.warm_up(endpoint, self.connections)
            yield info

    def _room(self) -> int:
        return host_settings.room(self.archive)


def again(machine: Machine, chosen: Sequence[str]) -> dict[str, float]:
    """What each of some settings holds, as a median of `TURNS` bisections, in turns."""
    turns = machine.measured(list(dict.fromkeys(chosen)), TURNS)
    return {
        name: statistics.median(
            turn.held[name].per_s if name in turn.held else 0.0 for turn in turns
        )
        for name in chosen
    }


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
    load, began = os.getloadavg()[0], time.monotonic()
    machine = Machine(recipe, archive, p99_ms, options.connections)
    (brute,) = machine.measured(list(machine.ways))
    brute_s = time.monotonic() - began
    tuned = tune.tune(
        recipe, archive, p99_ms=p99_ms, connections=options.connections,
        minutes=options.share * brute_s / 60, say=say,
    )  # fmt: skip
    found = [each for each in (brute.best, tuned.found.best) if each]
    holds = again(machine, found)
    return {
        "model": name,
        "p99_ms": p99_ms,
        "settings": len(machine.ways),
        "load_before": load,
        "tune": dataclasses.asdict(tuned),
        "brute_force": dataclasses.asdict(brute),
        "tune_chose": tuned.found.best,
        "tune_holds": holds.get(tuned.found.best or "", 0.0),
        "tune_why": tuned.found.why,
        "tune_sure": tuned.found.sure,
        "tune_s": round(tuned.seconds),
        "brute_chose": brute.best,
        "brute_holds": holds.get(brute.best or "", 0.0),
        "brute_s": round(brute_s),
    }


def table(found: Sequence[dict[str, Any]]) -> None:
    """Print a line for each model, as Markdown."""
    print(f"cores: {cpu.cores()}; instructions: {', '.join(sorted(cpu.instructions()))}\n")
    print(
        "| | settings | p99 ms | brute force's best | holds/s | tune's choice | holds/s | "
        "of the best | tune s | brute force s | share |"
    )
    print("|---" * 11 + "|")
    for each in found:
        best = each["brute_holds"] or float("nan")
        cells = [
            each["model"], each["settings"], f"{each['p99_ms']:g}", each["brute_chose"],
            f"{best:.1f}", each["tune_chose"], f"{each['tune_holds']:.1f}",
            f"{each['tune_holds'] / best:.2f}",
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
