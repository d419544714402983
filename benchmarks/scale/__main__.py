"""A model of many replicas, fed by measuring one: `measure`, then `check`, then `plan`.

python -m benchmarks.scale measure --out FILE [--recipe archiver_configs/minilm.yaml]
python -m benchmarks.scale check FILE
python -m benchmarks.scale plan FILE [--gbit 10] [--use 0.6]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    """Do one of the three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure", help="one server, then two: some 13 minutes")
    measuring.add_argument("--out", type=Path, required=True)
    measuring.add_argument("--recipe", type=Path, default=Path("archiver_configs/minilm.yaml"))
    measuring.add_argument("--model-store", type=Path, default=Path("model_store"))
    measuring.add_argument(
        "--seconds",
        type=float,
        default=120.0,
        help="of each run at a rate; all else takes a quarter",
    )
    checking = commands.add_parser("check", help="predicted and measured, side by side")
    planning = commands.add_parser("plan", help="tables for many replicas: minutes")
    for each in (checking, planning):
        each.add_argument("file", type=Path)
    planning.add_argument("--gbit", type=float, default=10.0, help="what the registry sends")
    planning.add_argument("--use", type=float, default=0.6, help="of what replicas can")
    options = parser.parse_args()
    if options.command == "measure":
        from benchmarks.scale.measuring import measure

        found = measure(options.recipe, options.model_store, options.seconds)
        options.out.write_text(json.dumps(found) + "\n", "utf-8")
        return
    measured = json.loads(options.file.read_text("utf-8"))
    if options.command == "plan":
        from benchmarks.scale.planning import tables

        for line in tables(measured, options.gbit, options.use):
            print(line, flush=True)
        return
    from benchmarks.scale.checking import compare

    lines, good = compare(measured)
    print("\n".join(lines))
    raise SystemExit(0 if good else "a prediction is out of its bounds")


if __name__ == "__main__":
    main()
