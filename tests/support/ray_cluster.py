"""Archives on a small Ray cluster of this machine, while standard input is open.

    python -m tests.support.ray_cluster PORT WORKER_NODES CORES TEMP ARGUMENTS

The arguments of the application are JSON. It prints "UP" when every model answers, takes lines,
and answers each: "kill", a node that isn't the head is killed; "add", one joins again; "status";
"green", the same is deployed a second time, below /green. With "dashboard" for the arguments
nothing is served, and PORT is the dashboard's, which deploys.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from marsmith.serving.host.ports import free_ports

NODE_ID = "RAY_OVERRIDE_NODE_ID_FOR_TESTING"
SAID = "said "
"""What its answers begin with; Ray itself prints what it likes."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_raylet_start_wait_time_s": "40",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
NODE = {"object_store_memory": 120_000_000, "include_log_monitor": False}
DASHBOARD = "dashboard"
AGENTS = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port")
"""A node waits 15 s for its agents to say their ports, and dies, unless it was told them before."""
LISTENS = "dashboard_agent_listen_port"
TRIES = 3


@contextmanager
def without_hurry(folder: Path) -> Iterator[dict[str, int]]:
    """Let a node that starts meanwhile wait for its agents as long as they take: machines are busy.

    Args:
        folder: where its files will be.

    Yields:
        The ports that it must be told. One there is no option for: that is said in the agent's
        place, until it says so itself. See: https://github.com/ray-project/ray/issues/65983.
    """
    from ray import NodeID
    from ray._raylet import persist_port

    node, done = NodeID.from_random().hex(), threading.Event()

    def say() -> None:
        while not done.wait(0.05):
            for session in folder.glob("**/session_*_*"):
                if not (session / f"{LISTENS}_{node}").exists():
                    persist_port(str(session), node, LISTENS, -1)

    saying = threading.Thread(target=say)
    os.environ[NODE_ID] = node
    saying.start()
    try:
        yield dict(zip(AGENTS, free_ports(len(AGENTS)), strict=True))
    finally:
        done.set()
        saying.join()
        del os.environ[NODE_ID]


def joined(cluster: Any, cores: int, dashboard: int | None = None) -> Any:
    """Have a node join, the head first, and try again if it dies at that."""
    options = {"num_cpus": cores, "include_dashboard": dashboard is not None, **NODE}
    options |= {"dashboard_port": dashboard} if dashboard else {}
    before = set(psutil.Process().children(recursive=True))
    for _ in range(TRIES):
        try:
            with without_hurry(Path(os.environ["RAY_TMPDIR"])) as ports:
                return cluster.add_node(**options, **ports)
        except Exception as error:  # Ray says it as an Exception
            print(f"a node died while it started: {error}", file=sys.stderr)
            for each in {*psutil.Process().children(recursive=True)} - before:
                with suppress(psutil.Error):
                    each.kill()
    raise SystemExit(f"no node has started, {TRIES} times")


def main(port: str, workers: str, cores: str, temp: str, arguments: str) -> None:
    """Serve until standard input ends."""
    Path(temp, "ray").mkdir(parents=True)
    os.environ.update(QUIET, RAY_TMPDIR=temp)
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    from marsmith.serving.ray import app

    cluster = Cluster()
    try:
        joined(cluster, int(cores), int(port) if arguments == DASHBOARD else None)
        if arguments == DASHBOARD:
            print("UP", flush=True)
            sys.stdin.read()
            return
        nodes = [joined(cluster, int(cores)) for _ in range(int(workers))]
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        http: Any = {"host": "127.0.0.1", "port": int(port)}
        serve.start(http_options=http, proxy_location="HeadOnly")
        serve.run(app(json.loads(arguments)), name="marsmith", route_prefix="/")
        print("UP", flush=True)
        for line in sys.stdin:
            match line.strip():
                case "kill":
                    cluster.remove_node(nodes.pop(), allow_graceful=False)
                case "add":
                    nodes.append(joined(cluster, int(cores)))
                case "green":
                    serve.run(app(json.loads(arguments)), name="green", route_prefix="/green")
                case "status":
                    deployed = serve.status().applications["marsmith"].deployments
                    said = {name: each.replica_states for name, each in deployed.items()}
                    print(SAID + json.dumps(said), flush=True)
                    continue
            print(SAID + "done", flush=True)
        serve.shutdown()
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
