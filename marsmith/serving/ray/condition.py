"""Which models can be asked, as Ray's controller says it."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

logger = logging.getLogger("ray.serve")
POLL_S = 0.5
ASK_S = 5.0
"""What the network has lost is answered never; the controller is asked again then."""
OLD_S = 10.0
"""What the controller said longer ago isn't believed any more."""
RUNS = ("RUNNING", "UPDATING")
"""How Ray calls replicas that answer; the second are told something meanwhile."""


class Condition:
    """What is known of an application's models.

    Args:
        names: of its models.
        application: its name; None for this replica's own.
    """

    def __init__(self, names: Sequence[str], application: str | None = None) -> None:
        self._names, self._application = names, application
        self._running: Mapping[str, int] = {}
        self._at = -OLD_S

    def up(self, name: str) -> bool:
        """Whether a model has a replica that runs."""
        return self.running(name) > 0

    def running(self, name: str) -> int:
        """How many replicas of a model run."""
        fresh = asyncio.get_running_loop().time() - self._at < OLD_S
        return self._running.get(name, 0) if fresh else 0

    @property
    def all_up(self) -> bool:
        """Whether all models have."""
        return all(self.up(name) for name in self._names)

    async def wait(self, name: str, until: float) -> bool:
        """Wait for a model, until a time of the loop's; whether it is up."""
        while not self.up(name) and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(POLL_S / 2)
        return self.up(name)

    async def watch(self) -> None:
        """Ask the controller again and again, until this is cancelled."""
        while True:
            try:
                self._running = await asyncio.wait_for(_running(self._application), ASK_S)
                self._at = asyncio.get_running_loop().time()
            except Exception:  # it is started anew somewhere; this is asked again
                logger.warning("Ray's controller doesn't say what runs", exc_info=True)
            await asyncio.sleep(POLL_S)


async def _running(named: str | None) -> dict[str, int]:
    """How many replicas run of the deployments of an application; None: this replica's own."""
    from ray import serve

    # `serve.status()` would block a thread, for good where the answer is lost.
    details = await _controller().get_serve_instance_details.remote()
    application = details["applications"].get(named or serve.get_replica_context().app_name)
    deployments = application["deployments"] if application else {}
    return {
        name: sum(replica["state"] in RUNS for replica in each["replicas"])
        for name, each in deployments.items()
    }


@functools.cache
def _controller() -> Any:
    """Ray Serve's controller, which keeps its name when it is started anew."""
    import ray
    from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

    return ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
