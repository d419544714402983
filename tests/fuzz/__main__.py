"""Fuzz targets: a number of inputs of chance, or for some minutes, guided by coverage.

    python -m tests.fuzz [--inputs N] [--seed S] [--minutes M] [TARGET ...]

With `--minutes` it is Atheris that makes the inputs, and its corpus stays in build/fuzz, to go on
from. What is found is written to build/fuzz/TARGET/found: the input, and beside it what happened.
Mend it, and move the input to tests/fuzz/found/TARGET: it is tried from then on, in every test.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz import engine
from tests.support.paths import ROOT

OUT = ROOT / "build" / "fuzz"
HANG_S = 60  # of waiting: on a busy machine an input may take long
MEMORY_MB = 4096
LARGEST = 65_536  # bytes of an input
EVERY_S = 30.0


def main() -> int:
    """Fuzz what was named, or all, and say what came of it; 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(engine.known()))
    parser.add_argument("--inputs", type=int, default=2000, help="For each target.")
    parser.add_argument("--seed", type=int, default=0, help="Of these inputs.")
    parser.add_argument("--minutes", type=float, help="For all targets together.")
    options = parser.parse_args()
    names = options.targets or engine.known()
    for name in names:
        engine.load(name)
    found = 0
    for name in names:
        if options.minutes is None:
            found += _by_chance(name, options.inputs, options.seed)
        else:
            found += _guided(name, options.minutes * 60 / len(names))
    return min(found, 1)


def _by_chance(name: str, count: int, seed: int) -> int:
    watched = engine.Watched(name, OUT / name / "found")
    began = told = time.monotonic()
    for data in engine.inputs(name, count, seed):
        watched.run(data)
        if time.monotonic() - told > EVERY_S:
            told = time.monotonic()
            _say(name, watched.inputs, told - began, len(watched.found))
    _say(name, watched.inputs, time.monotonic() - began, len(watched.found))
    for key, said in watched.found.items():
        print(f"  {key}\n{said}", flush=True)
    return len(watched.found)


def _guided(name: str, seconds: float) -> int:
    """Let Atheris run; where an input ends it, that is written down and it goes on."""
    corpus, seeds, found = (OUT / name / each for each in ("corpus", "seeds", "found"))
    for folder in (corpus, seeds, found):
        folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*engine.kept(name), *engine.load(name).seeds()]):
        (seeds / str(number)).write_bytes(data)
    began, count, before = time.monotonic(), 0, _written(found)
    while (left := seconds - (time.monotonic() - began)) > 1:
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(found)]
        command += [f"-max_total_time={int(left)}", f"-timeout={HANG_S}", f"-max_len={LARGEST}"]
        command += [f"-rss_limit_mb={MEMORY_MB}", "-print_final_stats=1"]
        command += [f"-artifact_prefix={found}/", str(corpus), str(seeds)]
        with (OUT / name / "log").open("wb") as log:
            done = subprocess.run(command, stdout=log, stderr=log, cwd=ROOT, check=False)
        said = (OUT / name / "log").read_text("utf-8", "replace")
        runs = re.findall(r"number_of_executed_units: (\d+)", said) or re.findall(r"#(\d+)", said)
        count += int(runs[-1]) if runs else 0
        if not runs:
            print(said[-2000:])
            return 1
        if done.returncode == 0:
            break
    new = _written(found) - before
    _say(name, count, time.monotonic() - began, len(new))
    print(*(f"  {each}" for each in sorted(new)), sep="\n", end="\n" if new else "")
    return len(new)


def _written(folder: Path) -> set[Path]:
    return {each for each in folder.iterdir() if each.suffix != ".txt"}


def _say(name: str, count: int, seconds: float, found: int) -> None:
    rate = count / max(seconds, 1e-9)
    print(f"{name}: {count:,} inputs, {rate:,.0f} per second, {found} found", flush=True)


if __name__ == "__main__":
    sys.exit(main())
