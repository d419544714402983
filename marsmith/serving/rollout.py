"""A new version beside the old: canary, promotion, or the way back.

It runs in the supervisor, so that it ends one way or the other whatever becomes of the command that
has asked for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psutil
from pydantic import BaseModel, ConfigDict, Field, field_validator

from marsmith.archive.reading import Named
from marsmith.errors import MarsmithError, ServerError
from marsmith.serving.front.access import AccessLog, Answered
from marsmith.serving.front.front import HAProxy
from marsmith.serving.host import intake, memory, run_folder, settings
from marsmith.serving.host.plan import ModelPlan
from marsmith.serving.shadow import SERVER, Compared, Shadow
from marsmith.serving.sides import Sides

POLL_S = 0.25
FRONT_S = 60.0
"""How long the front may take to be there again."""
LEAST_ANSWERS = 20
"""Of fewer, nothing is said of error rates and percentiles."""
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


class Rollout(BaseModel):
    """What is asked for.

    Attributes:
        model: the model's name.
        archive: the new version's.
        canary: percentages of the model's requests that it gets, one after another.
        hold_s: how long each is held.
        max_error_rate: the most answers of 500 and above, of all of the new version's.
        shadow: a share of requests, 0 to 1, that are also sent to it, until it has all, and whose
            answers are compared with the old version's, before it gets any by itself.
        tolerance: how far apart numbers may be in answers that are alike; beyond 1, relatively.
        max_disagreement: the most of these that may differ.
        max_p99_ratio: the most that its 99th percentile may be, over the old version's meanwhile.
        grace_s: how long the old one may take over what is on its way, once it gets no more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    archive: Path
    canary: tuple[int, ...] = (5, 25, 50, 100)
    hold_s: float = Field(30.0, ge=0)
    shadow: float = Field(0.1, ge=0, le=1)
    tolerance: float = Field(0.05, ge=0)
    max_disagreement: float = Field(0.05, ge=0, le=1)
    max_error_rate: float = Field(0.01, ge=0, le=1)
    max_p99_ratio: float = Field(1.5, gt=0)
    grace_s: float = Field(30.0, ge=0)

    @field_validator("canary")
    @classmethod
    def _grows(cls, canary: tuple[int, ...]) -> tuple[int, ...]:
        if list(canary) != sorted(set(canary)) or not canary or canary[-1] != 100 or canary[0] < 1:
            raise ValueError("percentages must grow from 1 at least to 100")
        return canary


Phase = Literal["start", "shadow", "canary", "promoted", "ended"]


class Step(BaseModel):
    """What is told of a rollout, as it goes.

    Attributes:
        phase: which part of it: "start", "shadow", "canary", "promoted", "ended".
        step: the same in words: what is being done, or was.
        share: the new version's percentage.
        answers: how many answers it has given since the last step.
        error_rate: of these.
        p99_ms: of these; None while there are too few.
        old_p99_ms: of the old version's, meanwhile.
        compared: how many answers have been compared so far.
        disagreement: the share of these that differ.
    """

    model_config = ConfigDict(frozen=True)

    phase: Phase = "start"
    step: str
    share: int = 0
    answers: int = 0
    error_rate: float = 0.0
    p99_ms: float | None = None
    old_p99_ms: float | None = None
    compared: int = 0
    disagreement: float = 0.0


class Conductor:
    """Carries out a rollout.

    Args:
        sides: of the server.
        haproxy: its front.
        access: what was answered.
        cancelled: set when the rollout is to be rolled back.
        say: takes each step.
    """

    def __init__(
        self,
        sides: Sides,
        haproxy: HAProxy,
        access: AccessLog,
        cancelled: threading.Event,
        say: Callable[[Step], None],
    ) -> None:
        self._sides, self._haproxy, self._access = sides, haproxy, access
        self._cancelled, self._say = cancelled, say

    def run(self, asked: Rollout, promoted: Callable[[ModelPlan], None]) -> None:
        """Roll a version out, or back when it misses a bound.

        Args:
            asked: what is asked for.
            promoted: called once the new version has all requests, before the old one ends.

        Raises:
            ServerError: it was rolled back, or never started; the old version serves as before.
        """
        before = self._served(asked.model).version
        plan = self._start(asked, before)
        new, old, began = self._sides.other, self._sides.active, time.monotonic()
        self._access.versions[asked.model, old] = before
        self._access.versions[asked.model, new] = plan.version
        try:
            with self._access.recording():
                with self._shadow(asked, plan, before) as compared:
                    if asked.shadow:
                        self._hold(asked, 0, compared)
                    for share in asked.canary[:-1]:
                        self._hold(asked, share, compared)
                self._hold(asked, 100, compared)
                unseen = not self._access.answered(asked.model, began).get(new)
            self._sides.keep_before(asked.model)
        except BaseException as error:
            try:
                self._withdraw(asked)
            finally:
                self._sides.end_candidate()
            if isinstance(error, MarsmithError):
                raise ServerError(
                    f"{asked.model} {plan.version} was rolled back: {error.message}",
                    hint=f"{before} serves all requests, as before",
                ) from error
            raise
        self._sides.promote()
        try:
            self._until_told(self._sides.share_nothing)
            promoted(plan)
            said = f"{asked.model} {plan.version} has all requests"
            if unseen:
                said += ", and has answered none so far: no bound was put to the test"
            self._say(Step(phase="promoted", step=said, share=100))
            self._drain(old, asked.grace_s)
        finally:
            self._sides.end_candidate()
        self._say(Step(phase="ended", step=f"{asked.model} {before} has ended", share=100))

    def _start(self, asked: Rollout, before: str) -> ModelPlan:
        """Take the new version in, and start it beside the old one."""

        def say(line: str) -> None:
            self._say(Step(step=line))

        server, named = self._sides.plan, {asked.model: Named.of(asked.archive)}
        earlier = run_folder.before(server.run_dir, asked.model)
        with intake.taken(named, server.run_dir, server.trust, say, earlier) as taken:
            plan = settings.read(asked.model, taken[asked.model])
            self._refuse_other_limits(plan)
            self._refuse_too_large(asked.model)
            say(f"{asked.model} {plan.version} starts beside {before}")
            self._sides.start_candidate(plan, taken[asked.model], say)
        return plan

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

    def _withdraw(self, asked: Rollout) -> None:
        """Take all requests from the new version, and let it answer those that it has.

        Raises:
            ServerError: the front does not answer.
        """
        self._until_told(lambda: self._sides.share(asked.model, 0))
        candidate = self._sides.candidate
        if candidate and candidate.ready.get(asked.model):  # nobody else answers what it has
            self._drain(self._sides.other, asked.grace_s)

    @contextmanager
    def _shadow(self, asked: Rollout, plan: ModelPlan, before: str) -> Iterator[Compared]:
        """Send some requests to both versions, and compare what they say."""
        if not asked.shadow:
            yield Compared()
            return
        sides = self._sides
        self._access.versions[asked.model, SERVER] = before
        sides.share(asked.model, 0)
        shadow = Shadow(
            sides.socket(SERVER), sides.socket(sides.active), sides.socket(sides.other),
            asked.tolerance, plan.response_timeout_s,
        )  # fmt: skip
        try:
            self._haproxy.tell_shadow(asked.model, asked.shadow)
            yield shadow.compared
        except BaseException:
            with suppress(ServerError):  # at once; the shadow may take a while
                sides.share(asked.model, 0)
            raise
        finally:
            self._haproxy.tell_shadow(asked.model, 0)
            self._drain(SERVER, asked.grace_s)
            shadow.end()

    def _served(self, model: str) -> ModelPlan:
        return next(each for each in self._sides.serving.plan.models if each.name == model)

    def _refuse_other_limits(self, plan: ModelPlan) -> None:
        """Refuse what the front would treat as the version that it was started with."""
        served = self._served(plan.name)
        other = [name for name in OF_THE_FRONT if getattr(plan, name) != getattr(served, name)]
        if other:
            raise ServerError(
                f"the new version differs from the one that serves in {', '.join(other)}, which the"
                " front was told as it started",
                hint="build it with the `serving:` of the other, by the same marsmith; or stop the"
                " server and serve the new version",
            )

    def _refuse_too_large(self, model: str) -> None:
        """Refuse a rollout that there is no memory for, before anything starts."""
        needed = SPARE_BYTES
        for status in self._sides.serving.torchserve.models().values():
            for worker in status.workers:
                try:
                    needed += psutil.Process(worker.pid).memory_info().rss
                except psutil.Error:
                    continue
        there = memory.free()
        if needed > there:
            raise ServerError(
                f"two versions of {model} need {needed / 1e6:,.0f} MB more;"
                f" {there / 1e6:,.0f} MB are free",
                hint="free memory, or stop the server and serve the new version alone",
            )

    def _hold(self, asked: Rollout, share: int, compared: Compared) -> None:
        """Give the new version a share, and watch it for a while.

        Raises:
            ServerError: it misses a bound.
        """
        self._sides.share(asked.model, share)
        began = time.monotonic()
        while True:
            step = self._judge(asked, share, began, compared)
            if time.monotonic() - began >= asked.hold_s:
                break
            if self._cancelled.wait(POLL_S):
                raise ServerError("it was called off")
        self._say(step)

    def _judge(self, asked: Rollout, share: int, since: float, compared: Compared) -> Step:
        candidate = self._sides.candidate
        if candidate is None or not candidate.torchserve.alive:
            raise ServerError("its TorchServe has died")
        if not candidate.ready.get(asked.model):
            candidate.count()  # once more: on a machine that is busy, an answer may not have come
        if not candidate.ready.get(asked.model):
            raise ServerError("it has no worker that is ready")
        answered = self._access.answered(asked.model, since)
        mine, theirs = (answered.get(each, []) for each in (self._sides.other, self._sides.active))
        failed = sum(each.status >= 500 for each in mine)
        step = Step(
            phase="canary" if share else "shadow",
            step=f"{share} % of the requests" if share else "in the shadow",
            share=share,
            answers=len(mine),
            error_rate=failed / max(1, len(mine)),
            p99_ms=p99_ms(mine),
            old_p99_ms=p99_ms(theirs),
            compared=compared.answers,
            disagreement=compared.differ / max(1, compared.answers),
        )
        if compared.differ > asked.max_disagreement * max(LEAST_ANSWERS, compared.answers):
            raise ServerError(
                f"{compared.differ} of {compared.answers} answers differ from the old version's"
                f" (the first: {compared.first}); at most {asked.max_disagreement:.1%} may"
            )
        if failed and failed > asked.max_error_rate * max(LEAST_ANSWERS, len(mine)):
            raise ServerError(
                f"{failed} of its {len(mine)} answers were errors; at most"
                f" {asked.max_error_rate:.1%} may be"
            )
        if step.p99_ms and step.old_p99_ms and step.p99_ms > asked.max_p99_ratio * step.old_p99_ms:
            raise ServerError(
                f"its 99th percentile is {step.p99_ms:.1f} ms, the old version's"
                f" {step.old_p99_ms:.1f} ms; at most {asked.max_p99_ratio:g} times that may be"
            )
        return step

    def _drain(self, side: str, grace_s: float) -> None:
        """Wait until nothing is on its way to a side, which gets no more requests."""
        until = time.monotonic() + grace_s
        with suppress(ServerError):  # of a front that has died nothing is on its way
            while time.monotonic() < until and self._haproxy.on_side(side):
                time.sleep(POLL_S)


def p99_ms(answered: Sequence[Answered]) -> float | None:
    """The 99th percentile of some answers; None if there are too few."""
    if len(answered) < LEAST_ANSWERS:
        return None
    taken = sorted(each.seconds for each in answered)
    return 1000 * taken[int(0.99 * (len(taken) - 1))]
