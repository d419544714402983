"""What is known of a rollout's answers, in an actor: ingresses write it, its conductor reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

NAME = NAMESPACE = "marsmith"
OLD, NEW = "old", "new"


class Noted(NamedTuple):
    """What an ingress has noted, and not told before.

    Attributes:
        answers: which version has answered, with which status, after how many seconds.
        compared: of each pair of answers that was compared, how they differ; "" where they don't.
    """

    answers: Sequence[tuple[str, int, float]]
    compared: Sequence[str]


class Ledger:
    """Keeps what was noted until it is taken."""

    def __init__(self) -> None:
        self._noted: list[Noted] = []

    def add(self, noted: Noted) -> None:
        """Keep something more."""
        self._noted.append(noted)

    def take(self) -> list[Noted]:
        """All that has come since the last time."""
        taken, self._noted = self._noted, []
        return taken


def open_one() -> Any:
    """Start the ledger of a rollout; a handle of the actor, which ends with it."""
    import ray

    return ray.remote(Ledger).options(name=NAME, namespace=NAMESPACE, num_cpus=0).remote()


def the_open_one() -> Any:
    """The ledger of the rollout that goes on.

    Raises:
        ValueError: there is none.
    """
    import ray

    return ray.get_actor(NAME, NAMESPACE)
