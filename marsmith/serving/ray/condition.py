"""Which models can be asked, as Ray's controller says it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

logger = logging.getLogger("ray.serve")
POLL_S = 0.5
OLD_S = 10.0
"""What the controller said longer ago isn't believed any more."""


class Condition:
    """What is known of an application's models.

    Args:
        names: of its models.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
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
                self._running = await asyncio.to_thread(_running)
                self._at = asyncio.get_running_loop().time()
            except Exception:  # it is started anew somewhere; this is asked again
                logger.warning("Ray's controller doesn't say what runs", exc_info=True)
            await asyncio.sleep(POLL_S)


def _running() -> dict[str, int]:
    """How many replicas run of the deployments of this replica's application."""
    from ray import serve

    status = serve.status().applications.get(serve.get_replica_context().app_name)
    deployments = status.deployments if status else {}
    return {name: each.replica_states.get("RUNNING", 0) for name, each in deployments.items()}
