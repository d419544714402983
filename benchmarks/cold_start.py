"""From `marsmith serve` to READY, and what its processes have in memory then.

    python -m benchmarks.cold_start ARCHIVE... [--rounds 3] [--checkout FOLDER]...

In turns, each in fresh processes:

- floor: one plain process imports torch, loads the file of the archive, which is unpacked already,
  and answers its own example once;
- serve: the command, until it returns: every model has its workers, and answers at full speed.

With `--checkout`, the commands of several checkouts of marsmith are compared on the same archives.
CPU seconds say more than seconds where other work runs. Memory is PSS (each page shared by n
processes counts 1/n in each), from /proc, so Linux alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil

from marsmith.archive.reading import Named
from marsmith.harness.unpacking import unpack
from marsmith.serving.host.ports import choose_ports
from marsmith.serving.host.processes import family

ROOT = Path(__file__).parents[1]
LIMIT_S = 600.0
PLAIN = """
import json, sys
from pathlib import Path
import torch
import yaml
folder = Path(sys.argv[1])
sys.path.insert(0, str(folder))
from handlers import runtimes
from handlers.device import CPU
from handlers.protocols.exchange import Exchange
from handlers.tasks import find
model = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text("utf-8"))["model"]
section = yaml.safe_load((folder / model["configFile"]).read_text("utf-8"))["handler"]
handler = find(section["task"])()
handler.configure(section, folder)
file, config = folder / model["serializedFile"], handler.config
handler.use(runtimes.load(config.runtime, file, CPU, config.runtime_options or {}))
media_type, body = handler.example()
asked = Exchange({"body": body}, {"body": media_type})
handler.answer_all([asked])
assert asked.status == 200, asked.body
"""


def floor(folder: Path) -> dict[str, float]:
    """A plain process, from its start to its end."""
    environment = {each: value for each, value in os.environ.items() if each != "PYTHONPATH"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-c", PLAIN, str(folder)]
    subprocess.run(command, env=environment, cwd=folder, check=True, timeout=LIMIT_S)
    return {"seconds": time.monotonic() - began, "cpu_seconds": children_since(before)}


def children_since(before: resource.struct_rusage) -> float:
    """The CPU seconds of children that have ended since."""
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def serve(archive: Path, checkout: Path) -> dict[str, Any]:
    """A server, from the command to READY; ended then."""
    with tempfile.TemporaryDirectory(prefix="cold-") as folder:
        environment = {**os.environ, "PYTHONPATH": str(checkout), "MARSMITH_STATE": folder}
        command = (sys.executable, "-m", "marsmith.cli")
        port = ("--port", str(choose_ports(0).inference))

        def run(*arguments: str) -> None:
            subprocess.run(
                (*command, *arguments, *port), env=environment, cwd=folder, check=True,
                capture_output=True, timeout=LIMIT_S,
            )  # fmt: skip

        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        run("serve", str(archive))
        took = time.monotonic() - began
        cpu = defaultdict(float, {"command": children_since(before)})
        try:
            said = json.loads(next(Path(folder).glob("servers/*/server.json")).read_text("utf-8"))
            supervisor = psutil.Process(said["pid"])
            spent = supervisor.cpu_times()
            cpu["ended"] = spent.children_user + spent.children_system
            memory: dict[str, list[float]] = defaultdict(list)
            for process in [supervisor, *family(Path(said["temp_dir"]))]:
                spent = process.cpu_times()
                cpu[kind(process, supervisor)] += spent.user + spent.system
                memory[kind(process, supervisor)].append(pss_mib(process))
        finally:
            run("stop")
    total = sum(cpu.values())
    return {"seconds": took, "cpu_seconds": total, "cpu": dict(cpu), "pss_mib": dict(memory)}


def kind(process: psutil.Process, supervisor: psutil.Process) -> str:
    """What a process of a server is for."""
    if process == supervisor:
        return "supervisor"
    name = process.name()
    return "python" if name.startswith(("python", "pt_main")) else name


def pss_mib(process: psutil.Process) -> float:
    """Its share of the memory, in MiB."""
    said = Path(f"/proc/{process.pid}/smaps_rollup").read_text("ascii")
    return round(int(said.partition("\nPss:")[2].split()[0]) / 1024, 1)


def main() -> None:
    """Measure, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archives", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--checkout", type=Path, action="append", help="by default, this one")
    given = parser.parse_args()
    checkouts = [each.resolve() for each in given.checkout or [ROOT]]
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as place:
        for archive in given.archives:
            unpack(Named.of(archive), Path(place) / archive.stem)
        for number in range(given.rounds):
            for archive in given.archives:
                taken = rounds[archive.stem]
                taken["floor"].append(floor(Path(place) / archive.stem))
                for each in checkouts:
                    taken[str(each)].append(serve(archive.resolve(), each))
                now = {name: round(runs[-1]["seconds"], 1) for name, runs in taken.items()}
                print(f"round {number + 1}, {archive.stem}: {now} s", file=sys.stderr)
    print(json.dumps({name: summary(taken) for name, taken in rounds.items()}, indent=1))


def summary(taken: dict[str, list[dict[str, Any]]]) -> dict[str, object]:
    """Medians, each over the floor of its own round, and the rounds."""
    found: dict[str, object] = {}
    for name, runs in taken.items():
        over = [
            run["seconds"] / low["seconds"] for run, low in zip(runs, taken["floor"], strict=True)
        ]
        found[name] = {
            "seconds": round(statistics.median(run["seconds"] for run in runs), 2),
            "over_floor": round(statistics.median(over), 2),
            "cpu_seconds": round(statistics.median(run["cpu_seconds"] for run in runs), 2),
            "rounds": [round(run["seconds"], 2) for run in runs],
            "cpu": {who: round(each, 2) for who, each in runs[-1].get("cpu", {}).items()},
            "pss_mib": runs[-1].get("pss_mib", {}),
        }
    return found


if __name__ == "__main__":
    main()
