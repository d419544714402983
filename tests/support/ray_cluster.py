"""Archives on a small Ray cluster of this machine, while standard input is open.

    python -m tests.support.ray_cluster PORT WORKER_NODES TEMP ARCHIVE...

It prints "UP" when every model answers, takes lines, and answers each: "kill", a node without the
ingress that clients reach is killed; "add", one joins again; "status".
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

SAID = "said "
"""What its answers begin with; Ray itself prints what it likes."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
NODE = {"num_cpus": 4, "object_store_memory": 120_000_000, "include_dashboard": False}


def main(port: str, workers: str, temp: str, *archives: str) -> None:
    """Serve until standard input ends."""
    Path(temp, "ray").mkdir(parents=True)
    os.environ.update(QUIET, RAY_TMPDIR=temp)
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    from marsmith.serving.ray import app

    cluster = Cluster(initialize_head=True, head_node_args={**NODE})
    try:
        nodes = [cluster.add_node(**NODE) for _ in range(int(workers))]
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        http: Any = {"host": "127.0.0.1", "port": int(port)}
        serve.start(http_options=http, proxy_location="HeadOnly")
        arguments = {"archives": json.dumps(archives), "ingresses": 1 + len(nodes)}
        serve.run(app(arguments), name="marsmith", route_prefix="/")
        print("UP", flush=True)
        for line in sys.stdin:
            match line.strip():
                case "kill":
                    cluster.remove_node(nodes.pop(), allow_graceful=False)
                case "add":
                    nodes.append(cluster.add_node(**NODE))
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
