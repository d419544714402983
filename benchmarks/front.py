"""What the front costs: `digits` behind it and without it, in turns, in one run.

python -m benchmarks.front [--seconds 10] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from pathlib import Path

from benchmarks.load import authorization, put
from benchmarks.overhead import CONNECTIONS, load
from examples.digits import held_out
from marsmith.serving import server


def main() -> None:
    """Measure, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, default=Path("model_store/digits.mar"))
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk, or brew install wrk")
    image, _ = held_out()[0]
    taken: dict[str, list[dict[str, float]]] = {"front": [], "bare": []}
    with (
        server.serve([options.archive], port=0) as front,
        server.serve([options.archive], port=0, front=False) as bare,
    ):
        for counted in [False] + [True] * options.rounds:  # the first round warms both JVMs
            for name, info in (("front", front), ("bare", bare)):
                headers = authorization(info)
                many = load(info.port, "/predictions/digits", image, headers, options.seconds)
                one = put(
                    info.port,
                    "digits",
                    [image],
                    headers,
                    connections=1,
                    seconds=options.seconds / 2,
                )
                if counted:
                    alone = one.percentile_ms(0.5)
                    taken[name].append({**many, "one_connection_p50_ms": alone})
    pairs = list(zip(taken["front"], taken["bare"], strict=True))
    ratios = [a["requests_per_s"] / b["requests_per_s"] for a, b in pairs]
    added = [a["one_connection_p50_ms"] - b["one_connection_p50_ms"] for a, b in pairs]
    report = {
        **taken,
        "connections": CONNECTIONS,
        "requests_per_s_ratios": [round(each, 3) for each in ratios],
        "requests_per_s_ratio_median": round(statistics.median(ratios), 3),
        "added_p50_ms": [round(each, 3) for each in added],
        "added_p50_ms_median": round(statistics.median(added), 3),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
