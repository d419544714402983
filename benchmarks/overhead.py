"""What serving costs: `digits` from `marsmith serve` against a constant under stock settings.

Two servers in one run on one machine, loaded in turn, A B A B, by `wrk` at 32 connections:

- stock: a handler that answers a constant, under TorchServe's default settings;
- marsmith: the digits archive (PNG decoded, CNN run, JSON answered), as `marsmith serve` starts it.

And the first request after READY against the steady median, over fresh servers.

    python -m benchmarks.overhead [--seconds 10] [--rounds 3] [--boots 3]
"""

from __future__ import annotations

import argparse
import http.client
import http.server
import json
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.load import authorization
from benchmarks.stock import Handler, stock_server
from examples.digits import held_out
from marsmith.serving import server

CONNECTIONS = 32
CONSTANT = """
class Constant:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        return [{"answer": 1}] * len(data)
"""


def timed_request(port: int, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, float]:
    """The status of one request over a connection of its own, and its seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    began = time.perf_counter()
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    response.read()
    seconds = time.perf_counter() - began
    connection.close()
    return response.status, seconds


def load(
    port: int, path: str, body: bytes, headers: dict[str, str], seconds: int
) -> dict[str, float]:
    """Requests per second and latencies in ms under `wrk` at 32 connections."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        script = Path(folder) / "post.lua"
        lines = [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
        script.write_text(
            'wrk.method = "POST"\n'
            f'local file = io.open("{folder}/body", "rb")\nwrk.body = file:read("*a")\n'
            + "\n".join(lines)
        )
        command = [
            "wrk",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{seconds}s",
            "--latency",
            "--timeout",
            "30s",
        ]
        command += ["-s", str(script), f"http://127.0.0.1:{port}{path}"]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in printed or "Socket errors" in printed:
        raise SystemExit(f"some requests failed:\n{printed}")
    return {
        "requests_per_s": float(found(r"Requests/sec:\s+([\d.]+)", printed)[1]),
        "p50_ms": percentile(printed, 50),
        "p99_ms": percentile(printed, 99),
    }


def percentile(printed: str, which: int) -> float:
    """A latency percentile from what `wrk --latency` prints, in ms."""
    value, unit = found(rf"{which}%\s+([\d.]+)(us|ms|s)", printed).groups()
    return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def found(pattern: str, printed: str) -> re.Match[str]:
    """A pattern's match in what `wrk` printed."""
    match = re.search(pattern, printed)
    if match is None:
        raise SystemExit(f"wrk printed something else:\n{printed}")
    return match


def first_request(archive: Path, boots: int) -> list[dict[str, float]]:
    """The first request after READY and the steady median, for fresh servers."""
    image, _ = held_out()[0]
    warm_client()
    measured = []
    for _ in range(boots):
        info = server.serve([archive], port=0)
        try:
            headers = authorization(info)
            latencies = [
                timed_request(info.port, "/predictions/digits", image, headers)[1] * 1000
                for _ in range(200)
            ]
        finally:
            server.stop(info)
        steady = statistics.median(latencies[100:])
        measured.append(
            {"first_ms": latencies[0], "p50_ms": steady, "ratio": latencies[0] / steady}
        )
    return measured


def warm_client() -> None:
    """Send the client's own first requests to nobody: they are slow by themselves."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nobody) as nobody:
        threading.Thread(target=nobody.serve_forever, daemon=True).start()
        for _ in range(50):
            timed_request(nobody.server_port, "/", b"x", {})
        nobody.shutdown()


class Nobody(http.server.BaseHTTPRequestHandler):
    """Answers every POST with nothing."""

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the library's
        """Say nothing."""


def main() -> None:
    """Measure, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, default=Path("model_store/digits.mar"))
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--boots", type=int, default=3)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk, or brew install wrk")
    image, _ = held_out()[0]
    info = server.serve([options.archive], port=0)
    results: dict[str, list[dict[str, float]]] = {"stock": [], "marsmith": []}
    try:
        with stock_server({"constant": Handler(CONSTANT)}) as port:
            for counted in [False] + [True] * options.rounds:  # the first round warms both JVMs
                stock = load(port, "/predictions/constant", image, {}, options.seconds)
                ours = load(
                    info.port, "/predictions/digits", image, authorization(info), options.seconds
                )
                if counted:
                    results["stock"].append(stock)
                    results["marsmith"].append(ours)
    finally:
        server.stop(info)
    ratios = [
        ours["requests_per_s"] / stock["requests_per_s"]
        for ours, stock in zip(results["marsmith"], results["stock"], strict=True)
    ]
    report = {
        **results,
        "ratio_median": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "first_request": first_request(options.archive, options.boots),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
