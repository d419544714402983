"""Who gets what where: every port, every identity, every path of a server; a table for docs/.

python -m benchmarks.matrix
"""

from __future__ import annotations

from pathlib import Path

import httpx
import psutil

from examples.digits import held_out
from marsmith.serving import server
from marsmith.serving.front import keys
from marsmith.serving.host.processes import family

PATHS = (
    ("GET", "/v2/health/live"), ("GET", "/v2/health/ready"), ("GET", "/ping"), ("GET", "/v2"),
    ("GET", "/v2/models/digits"), ("GET", "/v2/models/digits/ready"), ("GET", "/v1/models/digits"),
    ("POST", "/predictions/digits"), ("POST", "/v1/models/digits:predict"),
    ("POST", "/v2/models/digits/infer"), ("POST", "/explanations/digits"),
    ("GET", "/descriptions/digits"), ("GET", "/metrics"), ("GET", "/"), ("OPTIONS", "/"),
    ("GET", "/models"), ("GET", "/models/digits"), ("POST", "/models?url=x.mar"),
    ("DELETE", "/models/digits"), ("PUT", "/models/digits?min_worker=0"),
    ("GET", "/api-description"), ("POST", "/workflows?url=http://127.0.0.1/x"),
    ("GET", "/token?type=management"), ("POST", "/invocations"), ("POST", "/models/digits/invoke"),
)  # fmt: skip


def main() -> None:
    """Ask, and print the table."""
    image = held_out()[0][0]
    made: dict[str, str | None] = {
        scope: keys.add(f"matrix-{scope}", [scope]) for scope in keys.SCOPES
    }
    try:
        with server.serve(["digits"], port=0) as info:
            known: dict[str, str | None] = {
                "none": None,
                "a wrong one": "x",
                **made,
                "local": info.key.read_text(),
            }
            _print(info.inference_address, known, image)
            ports = sorted(
                f"{connection.laddr.ip}:{connection.laddr.port} ({process.name()})"
                for process in family(info.temp_dir)
                for connection in process.net_connections(kind="tcp")
                if connection.status == psutil.CONN_LISTEN
            )
            print("\nListening:", ", ".join(ports).replace(f":{info.port} ", ":PORT "))
    finally:
        for scope in keys.SCOPES:
            keys.revoke(f"matrix-{scope}")


def _print(address: str, known: dict[str, str | None], image: bytes) -> None:
    print("| | " + " | ".join(f"key: {name}" for name in known) + " |")
    print("|---" * (len(known) + 1) + "|")
    for method, path in PATHS:
        row = []
        for key in known.values():
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            body = image if path.startswith(("/predictions", "/explanations")) else b"{}"
            answer = httpx.request(
                method, address + path, headers=headers, content=body, timeout=60
            )
            row.append(str(answer.status_code))
        print(f"| `{method} {path}` | " + " | ".join(row) + " |")


if __name__ == "__main__":
    if not Path("model_store/digits.mar").exists():
        raise SystemExit("build it first: marsmith build archiver_configs/digits.yaml")
    main()
