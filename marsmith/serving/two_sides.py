"""A rollout's traffic behind the front: a TorchServe on each side, and HAProxy before both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from marsmith.archive.reading import Named
from marsmith.client.answers import Compared
from marsmith.errors import ServerError
from marsmith.serving.front.access import AccessLog, Answered
from marsmith.serving.front.front import HAProxy
from marsmith.serving.host import intake, run_folder, settings
from marsmith.serving.host.plan import ModelPlan
from marsmith.serving.rollout import POLL_S, Rollout, refuse_too_large
from marsmith.serving.shadow import SERVER, Shadow
from marsmith.serving.sides import Sides

FRONT_S = 60.0
"""How long the front may take to be there again."""
SPARE_BYTES = 300_000_000
"""What a JVM takes, and a little more."""
OF_THE_FRONT = (
    "max_body_bytes",
    "max_json_bytes",
    "queue_timeout_s",
    "response_timeout_s",
    "most",
    "reads_forms",
    "speaks_openai",
)


class TwoSides:
    """The sides of a server, in one rollout; see `marsmith.serving.rollout.TwoVersions`.

    Args:
        sides: of the server.
        haproxy: its front.
        access: what was answered.
        asked: the rollout.
        promoted: called once the new version serves, before the old one ends.
    """

    def __init__(
        self,
        sides: Sides,
        haproxy: HAProxy,
        access: AccessLog,
        asked: Rollout,
        promoted: Callable[[], None],
    ) -> None:
        self._sides, self._haproxy, self._access = sides, haproxy, access
        self._asked, self._model, self._promoted = asked, asked.model, promoted
        self._old, self._new, self._patience_s = "", "", 0.0

    def start(self, say: Callable[[str], None]) -> tuple[str, str]:
        """Take the new version in, and start another TorchServe beside the old one's."""
        self._old, self._new = self._sides.active, self._sides.other
        server, named = self._sides.plan, {self._model: Named.of(self._asked.archive)}
        earlier = run_folder.before(server.run_dir, self._model)
        served = self._served()
        with intake.taken(named, server.run_dir, server.trust, say, earlier) as taken:
            plan = settings.read(self._model, taken[self._model])
            _refuse_other_limits(plan, served)
            workers = self._sides.serving.torchserve.models().values()
            pids = [worker.pid for status in workers for worker in status.workers]
            refuse_too_large(self._model, pids, SPARE_BYTES)
            say(f"{self._model} {plan.version} starts beside {served.version}")
            self._sides.start_candidate(plan, taken[self._model], say)
        self._patience_s = plan.response_timeout_s
        self._access.versions[self._model, self._old] = served.version
        self._access.versions[self._model, self._new] = plan.version
        return served.version, plan.version

    def share(self, percent: int) -> None:
        """Give the new side so many of 100 requests."""
        self._sides.share(self._model, percent)

    @contextmanager
    def shadow(self) -> Iterator[Compared]:
        """Send some requests to both versions, and compare what they say."""
        sides = self._sides
        self._access.versions[self._model, SERVER] = self._served().version
        self.share(0)
        shadow = Shadow(
            sides.socket(SERVER), sides.socket(self._old), sides.socket(self._new),
            self._asked.tolerance, self._patience_s,
        )  # fmt: skip
        try:
            self._haproxy.tell_shadow(self._model, self._asked.shadow)
            yield shadow.compared
        except BaseException:
            with suppress(ServerError):  # at once; the shadow may take a while
                self.share(0)
            raise
        finally:
            self._haproxy.tell_shadow(self._model, 0)
            self._drain(SERVER)
            shadow.end()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep each answer that the front logs."""
        with self._access.recording():
            yield

    def answered(self, since: float) -> tuple[Sequence[Answered], Sequence[Answered]]:
        """The answers of the old side, and of the new one."""
        found = self._access.answered(self._model, since)
        return found.get(self._old, []), found.get(self._new, [])

    def check(self) -> None:
        """Look whether the new side's TorchServe lives, and has a worker that is ready."""
        candidate = self._sides.candidate
        if candidate is None or not candidate.torchserve.alive:
            raise ServerError("its TorchServe has died")
        if not candidate.ready.get(self._model):
            candidate.count()  # once more: on a machine that is busy, an answer may not have come
        if not candidate.ready.get(self._model):
            raise ServerError("it has no worker that is ready")

    def withdraw(self) -> None:
        """Take all requests from the new side, and let it answer those that it has.

        Raises:
            ServerError: the front does not answer.
        """
        self._until_told(lambda: self.share(0))
        candidate = self._sides.candidate
        if candidate and candidate.ready.get(self._model):  # nobody else answers what it has
            self._drain(self._new)

    def take_over(self) -> None:
        """Keep the old version's archive, and make the new side the active one.

        Raises:
            OSError: the archive can't be kept.
        """
        self._sides.keep_before(self._model)
        self._sides.promote()

    def settle(self) -> None:
        """Have the front send nothing to the other side, whatever the model.

        Raises:
            ServerError: the front does not answer.
        """
        self._until_told(self._sides.share_nothing)
        self._promoted()

    def drain(self) -> None:
        """Wait until the old side has answered what it has."""
        self._drain(self._old)

    def end(self) -> None:
        """End the side that isn't active."""
        self._sides.end_candidate()

    def _served(self) -> ModelPlan:
        return next(each for each in self._sides.serving.plan.models if each.name == self._model)

    def _until_told(self, tell: Callable[[], None]) -> None:
        """Tell the front something; if it has died, when it is there again.

        Raises:
            ServerError: it does not answer.
        """
        until = time.monotonic() + FRONT_S
        while True:
            try:
                tell()
                return
            except ServerError:
                if time.monotonic() > until:
                    raise
                time.sleep(POLL_S)

    def _drain(self, side: str) -> None:
        """Wait until nothing is on its way to a side, which gets no more requests."""
        until = time.monotonic() + self._asked.grace_s
        with suppress(ServerError):  # of a front that has died nothing is on its way
            while time.monotonic() < until and self._haproxy.on_side(side):
                time.sleep(POLL_S)


def _refuse_other_limits(plan: ModelPlan, served: ModelPlan) -> None:
    """Refuse what the front would treat as the version that it was started with."""
    other = [name for name in OF_THE_FRONT if getattr(plan, name) != getattr(served, name)]
    if other:
        raise ServerError(
            f"the new version differs from the one that serves in {', '.join(other)}, which the"
            " front was told as it started",
            hint="build it with the `serving:` of the other, by the same marsmith; or stop the"
            " server and serve the new version",
        )
