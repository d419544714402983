"""A rollout's traffic on Ray: two applications, and ingresses that are told who gets what."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from marsmith.archive.reading import PIN, Named
from marsmith.archive.signing import bundle_of
from marsmith.client.answers import Compared
from marsmith.errors import ServerError
from marsmith.serving.front.access import LATEST, Answered
from marsmith.serving.host import intake
from marsmith.serving.ray import ledger
from marsmith.serving.ray.deployed import CANDIDATE, Applications, any_stops, replicas
from marsmith.serving.ray.ledger import NEW, OLD
from marsmith.serving.ray.served import Served
from marsmith.serving.ray.split import Beside
from marsmith.serving.rollout import POLL_S, Rollout, refuse_too_large

TAKE_S = 10.0


class TwoApplications:
    """The applications of a server on Ray, in one rollout; see `rollout.TwoVersions`.

    While the new version has all requests, the old one's replicas are replaced by replicas of it,
    so that after a rollout a server is as if it had been started with the new version.

    Args:
        deployed: the server's application.
        run_dir: the server's folder.
        store: the folder of its archives.
        asked: the rollout.
        promoted: called with the new version once it serves, before the old one ends.
    """

    def __init__(
        self,
        deployed: Applications,
        run_dir: Path,
        store: Path,
        asked: Rollout,
        promoted: Callable[[Served], None],
    ) -> None:
        self._deployed, self._run_dir, self._store = deployed, run_dir, store
        self._asked, self._model, self._promoted = asked, asked.model, promoted
        self._served: Served | None = None
        self._before = deployed.arguments
        self._shadow = 0.0
        self._ledger: Any = None
        self._answers: deque[Answered] = deque(maxlen=LATEST)
        self._compared = Compared()

    def start(self, say: Callable[[str], None]) -> tuple[str, str]:
        """Take the new version in, and start an application of it alone."""
        self._before = self._deployed.arguments
        old = next(
            each for each in map(Served.of, self._before.archives) if each.name == self._model
        )
        named = Named.of(self._asked.archive)
        with intake.taken({self._model: named}, self._run_dir, self._before.trust, say) as taken:
            new = Served.of(str(keep_one(self._store, named.path, taken[self._model])))
            self._served = new = new.here()
        try:
            running = [each["pid"] for each in replicas(self._model)]
            # Twice: of the new version for itself, and of what takes over.
            refuse_too_large(self._model, 2 * _with_workers(running))
            versions = old.plan.version, new.plan.version
            say(f"{self._model} {versions[1]} starts beside {versions[0]}")
            self._ledger = ledger.open_one()
            self._deployed.run_candidate(new, self._asked.grace_s)
        except BaseException:
            self.end()
            raise
        return versions

    def share(self, percent: int) -> None:
        """Tell all ingresses how many of 100 requests the new version gets."""
        if self._served:
            self._deployed.beside[self._model] = Beside(
                CANDIDATE, self._served.archive, percent, self._shadow, self._asked.tolerance
            )
            self._deployed.run()

    @contextmanager
    def shadow(self) -> Iterator[Compared]:
        """Have ingresses ask both versions some requests, from the next share on."""
        self._shadow = self._asked.shadow
        try:
            yield self._compared
        finally:
            self._shadow = 0.0  # told with the next share, which comes at once

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Nothing more: the ledger keeps each answer that the ingresses tell of."""
        yield

    def answered(self, since: float) -> tuple[Sequence[Answered], Sequence[Answered]]:
        """The answers of the old version, and of the new one."""
        import ray

        now = time.monotonic()
        for noted in ray.get(self._ledger.take.remote(), timeout=TAKE_S):
            for side, status, seconds in noted.answers:
                self._answers.append(Answered(self._model, side, status, seconds, now))
            for words in noted.compared:
                self._compared.add(words)
        found = [each for each in self._answers if each.at >= since]
        old, new = ([each for each in found if each.side == side] for side in (OLD, NEW))
        return old, new

    def check(self) -> None:
        """Look whether a replica of the new version runs."""
        if not any(each["status"] == "READY" for each in replicas(self._model, CANDIDATE)):
            raise ServerError("it has no worker that is ready")

    def withdraw(self) -> None:
        """Give all requests to the old version; Ray lets the new one answer what it has."""
        self._deployed.arguments = self._before
        self._forget()

    def take_over(self) -> None:
        """Replace the old version's replicas, which get no requests, by replicas of the new one.

        Raises:
            MarsmithError: they don't start.
        """
        if self._served is None:
            raise ServerError("nothing has been started that could take over")
        kept = [each for each in self._before.archives if Served.of(each).name != self._model]
        archives = (*kept, self._served.archive)
        self._deployed.arguments = self._before.model_copy(update={"archives": archives})
        self._deployed.run()

    def settle(self) -> None:
        """Give all requests to the application's own replicas, which are of the new version now."""
        self._forget()
        if self._served:
            self._promoted(self._served)

    def drain(self) -> None:
        """Wait for replicas that are replaced: what they have may be the candidate's to answer."""
        until = time.monotonic() + self._asked.grace_s
        while time.monotonic() < until and any_stops():
            time.sleep(POLL_S)

    def end(self) -> None:
        """End the application of the new version alone, and remove the archive of none."""
        import ray

        self._deployed.delete_candidate()
        if self._ledger is not None:
            with suppress(Exception):  # it has died
                ray.kill(self._ledger)
        if self._served and self._served.archive not in self._deployed.arguments.archives:
            folder = Path(self._served.archive.rpartition(PIN)[0]).parent
            shutil.rmtree(folder, ignore_errors=True)

    def _forget(self) -> None:
        self._deployed.beside.pop(self._model, None)
        self._deployed.run()


def keep_one(store: Path, source: Path, copy: Path) -> Path:
    """Keep an archive that was taken in, for replicas that are started later.

    Args:
        store: the folder of a server's archives.
        source: where it came from, with its signature, if it has one.
        copy: the copy that was checked.

    Returns:
        Where it is, in a folder of its own.
    """
    number = 1 + max((int(each.name) for each in store.glob("*")), default=0)
    # A signature tells of the file's name, too.
    to = store / str(number) / source.name
    to.parent.mkdir(parents=True)
    to.hardlink_to(copy)
    if (signed := bundle_of(source)).exists():
        shutil.copyfile(signed, bundle_of(to))
    return to


def _with_workers(pids: Sequence[int]) -> list[int]:
    """Replicas' processes, and those of their workers."""
    found = list(pids)
    for pid in pids:
        with suppress(psutil.Error):
            found += [each.pid for each in psutil.Process(pid).children(recursive=True)]
    return found
