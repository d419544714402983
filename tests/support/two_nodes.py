"""Two Ray nodes, each in a network namespace of its own, as on two machines of one network.

    python -m tests.support.two_nodes ARGUMENTS

runs on the head: it deploys an application of these arguments, which are JSON, and prints "UP".
Then it takes lines, and answers each: other arguments are deployed in their place; "status".
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.support.on_ray import OnRay
from tests.support.paths import ROOT
from tests.support.ray_cluster import QUIET, SAID, TRIES, without_hurry

HEAD, OTHER = "mrhead", "mrother"
BRIDGE = "mrbridge"
ADDRESSES = {BRIDGE: "10.213.7.254", HEAD: "10.213.7.1", OTHER: "10.213.7.2"}
HTTP, GCS = 8000, 6379
OPTIONS = {
    "metrics_agent_port": "dashboard-agent-grpc-port",
    "metrics_export_port": "metrics-export-port",
    "runtime_env_agent_port": "runtime-env-agent-port",
}
"""Of `ray start`, for its own names of the ports."""
SENT = 10
"""How often a request is sent, in turns to one node and the other."""


def ip(*arguments: str) -> str:
    """Run `ip`."""
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def link(node: str) -> str:
    """The end of a node's cable that is outside of it."""
    return f"{node}0"


class TwoNodes:
    """Two nodes at one bridge.

    Args:
        folder: of their files; the path is short.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

    def environment(self) -> dict[str, str]:
        """What Ray is told by the environment."""
        own = {"PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(self._folder), **self._token}
        return {**os.environ, **QUIET, **own}

    def connect(self) -> None:
        """Make the bridge and the namespaces."""
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{ADDRESSES[BRIDGE]}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for node in (HEAD, OTHER):
            ip("netns", "add", node)
            ip("link", "add", link(node), "type", "veth", "peer", "name", "eth0", "netns", node)
            ip("link", "set", link(node), "master", BRIDGE, "up")
            ip("-n", node, "addr", "add", f"{ADDRESSES[node]}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", node, "link", "set", device, "up")

    def disconnect(self) -> None:
        """End whatever runs in the namespaces, and remove them."""
        for node in (HEAD, OTHER):
            with suppress(subprocess.CalledProcessError):
                self.kill(node)
                ip("netns", "delete", node)
        for device in (link(HEAD), link(OTHER), BRIDGE):
            with suppress(subprocess.CalledProcessError):  # it may go with its namespace
                ip("link", "delete", device)

    def start(self, node: str) -> None:
        """Start Ray on a node, and again if it doesn't at once."""
        address = f"{ADDRESSES[HEAD]}:{GCS}"
        place = ["--head", f"--port={GCS}", "--include-dashboard=false"]
        place = place if node == HEAD else [f"--address={address}"]
        command = [
            "ip", "netns", "exec", node, str(Path(sys.executable).with_name("ray")), "start",
            *place, f"--node-ip-address={ADDRESSES[node]}", "--num-cpus=1", "--disable-usage-stats",
            "--object-store-memory=120000000", f"--temp-dir={self._folder / node}",
            "--include-log-monitor=false",
        ]  # fmt: skip
        for tried in range(TRIES):
            with without_hurry(self._folder / node) as ports:
                said = [f"--{OPTIONS[name]}={port}" for name, port in ports.items()]
                done = subprocess.run(
                    [*command, *said], capture_output=True, text=True, timeout=300, check=False,
                    env=self.environment(),
                )  # fmt: skip
            if done.returncode == 0:
                return
            self.kill(node)
            print(f"{node}, try {tried}: {done.stderr[-2000:]}", file=sys.stderr)
        raise AssertionError(f"{node} has not started")

    def kill(self, node: str) -> None:
        """End all processes of a node at once, as a power cut does."""
        while pids := ip("netns", "pids", node).split():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def runs(self, node: str) -> bool:
        """Whether Ray runs on a node."""
        return any(
            "raylet" in Path("/proc", pid, "comm").read_text()
            for pid in ip("netns", "pids", node).split()
        )

    def cut(self, node: str, seconds: float) -> None:
        """Pull a node's cable for a while."""
        ip("link", "set", link(node), "down")
        time.sleep(seconds)
        ip("link", "set", link(node), "up")


class EitherNode(httpx.BaseTransport):
    """Sends each request to one of two nodes, and again to the other where it is not answered."""

    def __init__(self) -> None:
        self._transports = [(ADDRESSES[node], httpx.HTTPTransport()) for node in (HEAD, OTHER)]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the other node has the next one."""
        error: httpx.TransportError | None = None
        for _ in range(SENT):
            host, transport = self._transports[0]
            self._transports.reverse()
            asked = httpx.Request(
                request.method, request.url.copy_with(host=host), content=request.read(),
                headers=request.headers, extensions=request.extensions,
            )  # fmt: skip
            try:
                answer = transport.handle_request(asked)
                answer.read()
            except httpx.TransportError as found:
                error = found
            else:
                if answer.status_code < 500:
                    return answer
                error = httpx.RemoteProtocolError(f"{host}: {answer.status_code} {answer.text}")
            time.sleep(0.5)
        raise error or AssertionError

    def close(self) -> None:
        """Close all connections."""
        for _, transport in self._transports:
            transport.close()


@contextmanager
def started(arguments: Mapping[str, object]) -> Iterator[tuple[TwoNodes, OnRay]]:
    """Serve on two nodes, and end all of it."""
    # The path of a Unix socket has 104 bytes at most.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mr", ignore_cleanup_errors=True) as temp:
        nodes = TwoNodes(Path(temp))
        try:
            nodes.connect()
            nodes.start(HEAD)
            nodes.start(OTHER)
            command = ["ip", "netns", "exec", HEAD, sys.executable, "-m", __name__]
            with subprocess.Popen(
                [*command, json.dumps(arguments)], cwd=ROOT, env=nodes.environment(),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            ) as process:  # fmt: skip
                served = OnRay(f"http://{ADDRESSES[HEAD]}:{HTTP}", "", process)
                try:
                    assert served.hears("UP") == ""
                    yield nodes, served
                finally:
                    nodes.kill(HEAD)
        finally:
            nodes.disconnect()


def client(key: str) -> httpx.Client:
    """A client of whichever node answers; connecting takes no long time where there is one."""
    return httpx.Client(
        base_url=f"http://node:{HTTP}", headers={"Authorization": f"Bearer {key}"},
        transport=EitherNode(), timeout=httpx.Timeout(120, connect=5),
    )  # fmt: skip


def main(arguments: str) -> None:
    """Deploy, until standard input ends."""
    import ray
    from ray import serve

    from marsmith.serving.ray import app

    def deploy(said: str) -> None:
        serve.run(app(json.loads(said)), name="marsmith", route_prefix="/")

    address = f"{ADDRESSES[HEAD]}:{GCS}"
    ray.init(address=address, log_to_driver=False, logging_level="error",
             _node_ip_address=ADDRESSES[HEAD])  # fmt: skip
    http: Any = {"host": "0.0.0.0", "port": HTTP}
    serve.start(http_options=http, proxy_location="EveryNode")
    deploy(arguments)
    print("UP", flush=True)
    for line in sys.stdin:
        if line.strip() == "status":
            deployed = serve.status().applications["marsmith"].deployments
            said = {name: each.replica_states for name, each in deployed.items()}
            print(SAID + json.dumps(said), flush=True)
        else:
            deploy(line)
            print(SAID + "done", flush=True)


def possible() -> bool:
    """Whether this user and this system have namespaces."""
    if os.geteuid() or not shutil.which("ip"):
        return False
    try:
        ip("netns", "add", HEAD)
        ip("netns", "delete", HEAD)
    except subprocess.CalledProcessError:
        return False
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
