"""A Ray of this machine alone: one node, at loopback, that is nobody else's."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from marsmith.errors import ServerError

LOOPBACK = "127.0.0.1"
OBJECTS_BYTES = 500_000_000
"""For bodies and answers on their way that are larger than a message of Ray's."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # tells nobody anything
    "RAY_AUTH_MODE": "token",
    # Nobody else joins: all of Ray's ports are at loopback then, on any system.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # A busy machine takes longer than Ray thinks. A node whose agents take more than 15 s dies, of
    # which its start doesn't know: after this time it is tried again.
    "RAY_agent_register_timeout_ms": "180000",
    "RAY_raylet_start_wait_time_s": "40",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
}
TRIES = 4


class Node:
    """One node, which this process starts and ends.

    It is made before Ray is imported, which reads the environment once.

    Args:
        folder: of its files; the path is short, for it holds sockets.
    """

    def __init__(self, folder: Path) -> None:
        # A token of its own: without, another user of this machine could run any code on it.
        token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
        os.environ.update(SETTINGS, **token, TMPDIR=str(folder), RAY_TMPDIR=str(folder))
        self._folder = folder
        self.runs = False

    def start(self, cores: int) -> None:
        """Start the node.

        Args:
            cores: how many it counts.

        Raises:
            ServerError: it dies at that, again and again.
        """
        import ray

        for tried in range(1, TRIES + 1):
            try:
                ray.init(
                    num_cpus=cores, object_store_memory=OBJECTS_BYTES, include_dashboard=False,
                    log_to_driver=False, logging_level="error", _node_ip_address=LOOPBACK,
                    # A try of its own: what one that died has left is ended with this process.
                    _temp_dir=str(self._folder / f"ray{tried}"),
                )  # fmt: skip
            except Exception as error:  # Ray says it as an Exception
                said = error
            else:
                self.runs = True
                return
        raise ServerError(
            f"Ray did not start, {TRIES} times: {said}",
            hint="a machine that is too busy does that; see supervisor.log",
        )

    def end(self) -> None:
        """End the node, with all that runs on it."""
        import ray

        ray.shutdown()
