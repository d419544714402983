"""What a GPU does, in process and served: `python -m benchmarks.gpu`.

    python -m benchmarks.gpu in-process [--device cuda] [--batch-size 32] [--small]
    python -m benchmarks.gpu served [--device gpu] [--seconds 5]

Each prints tables in Markdown. `--device cpu` (and `--small`) tries it where there is no GPU.
"""

from __future__ import annotations

import argparse

from benchmarks.gpu import in_process, served


def main() -> None:
    """Run the part that is asked for."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    first = parts.add_parser("in-process", help=str(in_process.__doc__).splitlines()[0])
    first.add_argument("--device", default="cuda")
    first.add_argument("--batch-size", type=int, default=32)
    first.add_argument("--small", action="store_true", help="few layers, to try the script")
    second = parts.add_parser("served", help=str(served.__doc__).splitlines()[0])
    second.add_argument("--device", choices=("cpu", "gpu"), default="gpu")
    second.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    if given.part == "served":
        served.run(given.device, given.seconds)
    else:
        in_process.run(given.device, given.batch_size, small=given.small)


if __name__ == "__main__":
    main()
