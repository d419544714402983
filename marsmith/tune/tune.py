"""tune(recipe, archive) -> the best way to serve it on this machine, on one page."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from handlers import cpu
from marsmith.archive.reading import pinned
from marsmith.bench import figures, measure, target
from marsmith.bench.figures import Summary
from marsmith.bench.measure import Traffic
from marsmith.bench.target import Endpoint
from marsmith.errors import MarsmithError, ServerError
from marsmith.extras import need
from marsmith.recipe.sections import Recipe
from marsmith.serving import server
from marsmith.serving.front.haproxy import find_haproxy
from marsmith.serving.host import intake
from marsmith.serving.host import settings as host_settings
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.serving.torchserve.java import find_java
from marsmith.tune import search, settings
from marsmith.tune.groups import Groups
from marsmith.tune.search import Found
from marsmith.tune.settings import Way
from marsmith.tune.variants import variants

FIRST_S = 2.0
"""Of a run in the first round."""
OF_RATES = 0.6
"""The part of the time after which rates are looked for."""
PROBE_S = 5.0
"""Of a run that bisects the rate; longer for `PROBES` requests, up to `MOST_PROBE_S`."""
PROBES, MOST_PROBE_S = 300, 30.0
ABOVE = 1.1
"""Times the answers per second of a closed loop: a rate that nothing holds."""
WARM_UP_S = 2.0
"""Of a load on a new server, which counts for nothing: Java compiles what all ways share."""
BUSY = 0.25
"""Of the cores, wanted by others before the search began: then nothing is sure."""

Say = Callable[[str], None]
Run = Callable[[str, Traffic], Summary]
"""Puts a load on a setting."""


@dataclass(frozen=True)
class Tuned:
    """What was found on this machine.

    Attributes:
        settings: all that were tried, by name.
        found: what was measured, and the choice.
        own: the name of the recipe's own.
        cores: of the machine.
        busy: its load average before.
        seconds: how long it took.
    """

    settings: dict[str, Way]
    found: Found
    own: str
    cores: int
    busy: float
    seconds: float

    @property
    def best(self) -> Way | None:
        """The setting that was chosen."""
        return self.settings[self.found.best] if self.found.best else None


def tune(
    recipe: Recipe,
    archive: Path,
    *,
    p99_ms: float | None = None,
    connections: int = 16,
    minutes: float = 10.0,
    say: Say = lambda line: None,
) -> Tuned:
    """Serve an archive in every way that is worth a try, a group of them at a time, and choose.

    Args:
        recipe: of the archive; its held-out data is sent.
        archive: as `marsmith build` made it.
        p99_ms: 99 of 100 answers must come within; then the highest rate that holds it counts,
            otherwise the answers per second from `connections`.
        connections: clients that ask one after another.
        minutes: of starting and measuring; no round begins later.
        say: takes one line as each step begins.

    Raises:
        ArchiveError: servers of this user take only what is signed, and it isn't.
        MarsmithError: the recipe has no evaluation data, or there is no Java or HAProxy.
    """
    need("bench", "aiohttp")
    intake.signers(archive)  # which nobody can ask of what is made of it here
    began, busy = time.monotonic(), os.getloadavg()[0]
    bodies = target.held_out(recipe)
    ways = {each.name: each for each in settings.space(recipe.serving)}
    say(f"{recipe.name} can be served in {len(ways)} ways here")
    find_java()  # without which no way starts
    find_haproxy()

    @contextmanager
    def start(names: Sequence[str]) -> Iterator[ServerInfo]:
        with served(recipe, archive, {name: ways[name] for name in names}, say) as info:
            warm_up(target.of_model(info, names[0], bodies, "held-out data"), connections)
            yield info

    def run(name: str, traffic: Traffic) -> Summary:
        endpoint = target.of_model(groups.server_of(name), name, bodies, "held-out data")
        say(f"{ways[name]}: {traffic.words()}")
        return figures.of(measure.once(endpoint, traffic), traffic.warm_up_s)

    def in_time(share: float) -> bool:
        return time.monotonic() - began < share * minutes * 60

    with Groups(ways, start, lambda: host_settings.room(archive)) as groups:
        found = find(ways, run, p99_ms, connections, in_time, groups.begin)
    own, cores = settings.of(recipe.serving).name, cpu.cores()
    if busy > BUSY * cores:
        why = f"{found.why}; the machine was busy before: load {busy:.1f}"
        found = replace(found, sure=False, why=why)
    return Tuned(ways, found, own, cores, busy, round(time.monotonic() - began, 1))


@contextmanager
def served(
    recipe: Recipe, archive: Path, ways: Mapping[str, Way], say: Say
) -> Iterator[ServerInfo]:
    """Serve an archive in several ways at a time, from one server.

    Args:
        recipe: of the archive.
        archive: a sound one.
        ways: by the name that the model gets.
        say: takes one line as each step begins.

    Raises:
        ServerError: not all of them start in their time.
    """
    workers = sum(way.workers for way in ways.values())
    say(f"start {len(ways)} of the ways: {workers} workers")
    # So many of them share a core while they load.
    startup_s = recipe.serving.startup_timeout_s * math.ceil(workers / cpu.cores())
    with tempfile.TemporaryDirectory() as work:
        made = [str(pinned(each)) for each in variants(archive, ways, startup_s, Path(work))]
        with server.serve(made, port=0, trust=None, timeout_s=startup_s, on_progress=say) as info:
            yield info


def warm_up(endpoint: Endpoint, connections: int) -> None:
    """Let Java compile what all ways share, so that the first of them is no slower for it."""
    measure.once(endpoint, Traffic(connections=connections, seconds=WARM_UP_S))


def find(
    ways: Mapping[str, Way],
    run: Run,
    p99_ms: float | None,
    connections: int,
    in_time: Callable[[float], bool],
    begin: Callable[[Sequence[str]], None] = lambda names: None,
) -> Found:
    """Choose; what was measured is found, too, where the search is interrupted.

    Args:
        ways: the settings by name.
        run: puts a load on a setting.
        p99_ms: 99 of 100 answers must come within; None: there is no such bound.
        connections: of a closed loop.
        in_time: whether a share of the time isn't over.
        begin: is told as each round begins which settings it measures, in order.
    """
    tried: dict[str, search.Tried] = {}
    rates: dict[str, search.Held] = {}

    def closed(name: str, seconds: float) -> Summary:
        return run(name, Traffic(connections=connections, seconds=seconds))

    try:
        share = 1.0 if p99_ms is None else OF_RATES
        search.halving(list(ways), closed, FIRST_S, tried, lambda: in_time(share), begin)
        found = search.chosen(tried, {name: cost(way) for name, way in ways.items()})
        if p99_ms is None or found.best is None:
            return found
        return bounded(found, run, p99_ms, rates, lambda: in_time(1.0))
    except (MarsmithError, KeyboardInterrupt, SystemExit) as end:
        cause = f": {end.message}" if isinstance(end, MarsmithError) else ""
        why = f"the search was interrupted{cause}"
        return Found(tried, rates, None, sure=False, why=why)


def bounded(
    found: Found,
    run: Run,
    p99_ms: float,
    rates: dict[str, search.Held],
    in_time: Callable[[], bool],
) -> Found:
    """Choose the finalist that holds the bound at the highest rate.

    The rate of the likeliest is looked for. Each other is asked whether it holds more, and how
    much more only if it does.

    Args:
        found: by `search.chosen`.
        run: puts a load on a setting.
        p99_ms: the bound.
        rates: takes what each finalist is known to hold as each run ends.
        in_time: whether there is time left; without it nothing is sure.
    """
    tried, most = dict(found.tried), 0.0
    last = [name for name, each in tried.items() if not each.out and each.answered]
    for name in sorted(last, key=lambda name: (name != found.best, -tried[name].per_s)):
        each = tried[name]

        def probe(rate: float, name: str = name) -> Summary:
            seconds = min(MOST_PROBE_S, max(PROBE_S, PROBES / rate))
            return run(name, Traffic(rate=rate, seconds=seconds))

        try:
            for known in search.held(probe, ABOVE * each.per_s, p99_ms, in_time, most):
                rates[name] = known
                most = max(most, known.per_s)
        except ServerError as error:  # it made room for another, and doesn't start again
            rates.pop(name, None)
            tried[name] = replace(each, out=error.message)
    best = max(rates, key=lambda name: rates[name].per_s, default=None)
    why = f"the highest rate at which 99 of 100 answers come within {p99_ms:g} ms"
    if best is None or not rates[best].per_s:
        best, why = None, f"none was shown to answer within {p99_ms:g} ms"
        if not rates and not in_time():
            why = f"there was no time to find which rate is answered within {p99_ms:g} ms"
    if unsent := [each.unsent for each in rates.values() if each.unsent is not None]:
        lag = f"{min(unsent):.0f} requests/s could not be sent in time by the load's generator"
        why = f"{why}; {lag}"
    sure = found.sure and in_time() and surely(best, rates)
    return replace(found, tried=tried, held=rates, best=best, sure=sure, why=why)


def surely(best: str | None, rates: Mapping[str, search.Held]) -> bool:
    """Whether it was measured that no other holds more than the best one."""
    return not any(each.unsent for name, each in rates.items() if name != best)


def cost(setting: Way) -> float:
    """What a setting takes of the machine, to choose between equals: memory, then waiting."""
    return setting.workers * 1000 + setting.delay_ms
