"""Which models can be asked, as Ray's controller says it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

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
        self._up: frozenset[str] = frozenset()
        self._at = -OLD_S

    def up(self, name: str) -> bool:
        """Whether a model has a replica that runs."""
        return name in self._up and asyncio.get_running_loop().time() - self._at < OLD_S

    @property
    def all_up(self) -> bool:
        """Whether all models have."""
        return all(self.up(name) for name in self._names)

    async def watch(self) -> None:
        """Ask the controller again and again, until this is cancelled."""
        while True:
            try:
                self._up = await asyncio.to_thread(_running)
                self._at = asyncio.get_running_loop().time()
            except Exception:  # it is started anew somewhere; this is asked again
                logger.warning("Ray's controller doesn't say what runs", exc_info=True)
            await asyncio.sleep(POLL_S)


def _running() -> frozenset[str]:
    """The deployments of this replica's application that have a running replica."""
    from ray import serve

    status = serve.status().applications.get(serve.get_replica_context().app_name)
    deployments = status.deployments if status else {}
    return frozenset(
        name for name, each in deployments.items() if each.replica_states.get("RUNNING", 0) > 0
    )
