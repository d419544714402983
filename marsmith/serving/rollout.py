"""A new version beside the old: canary, promotion, or the way back.

It runs in the supervisor, so that it ends one way or the other whatever becomes of the command that
has asked for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Literal, Protocol

import psutil
from pydantic import BaseModel, ConfigDict, Field, field_validator

from marsmith.client.answers import Compared
from marsmith.errors import MarsmithError, ServerError, no_such
from marsmith.serving.control import Say
from marsmith.serving.front.access import Answered
from marsmith.serving.host import memory

POLL_S = 0.25
LEAST_ANSWERS = 20
"""Of fewer, nothing is said of error rates and percentiles."""


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


class TwoVersions(Protocol):
    """Two versions of a model behind one address, for one rollout."""

    def start(self, say: Callable[[str], None]) -> tuple[str, str]:
        """Take the new version in, and start it beside the old one.

        Returns:
            The old version, and the new.

        Raises:
            MarsmithError: it isn't sound, or doesn't start; nothing of it is left then.
        """

    def share(self, percent: int) -> None:
        """Give the new version so many of 100 requests."""

    def shadow(self) -> AbstractContextManager[Compared]:
        """Until the block ends, have both versions answer some requests, and compare."""

    def recording(self) -> AbstractContextManager[None]:
        """Keep each answer for `answered`, until the block ends."""

    def answered(self, since: float) -> tuple[Sequence[Answered], Sequence[Answered]]:
        """The old version's answers and the new one's since a time on the monotonic clock."""

    def check(self) -> None:
        """Look whether the new version can answer.

        Raises:
            ServerError: it can't.
        """

    def withdraw(self) -> None:
        """Take all requests from the new version, and let it answer those that it has."""

    def take_over(self) -> None:
        """Make the new version, which has all requests, the one that serves.

        Raises:
            Exception: it can't be; the old one still could.
        """

    def settle(self) -> None:
        """Say wherever it is asked that the new version is the one that serves."""

    def drain(self) -> None:
        """Let what has no requests any more answer those that are on their way."""

    def end(self) -> None:
        """End what doesn't serve."""


class Conductor:
    """Carries out a rollout.

    Args:
        traffic: what it is carried out with.
        cancelled: set when the rollout is to be rolled back.
        say: takes each step.
    """

    def __init__(
        self, traffic: TwoVersions, cancelled: threading.Event, say: Callable[[Step], None]
    ) -> None:
        self._traffic, self._cancelled, self._say = traffic, cancelled, say

    def run(self, asked: Rollout) -> None:
        """Roll a version out, or back when it misses a bound.

        Args:
            asked: what is asked for.

        Raises:
            ServerError: it was rolled back, or never started; the old version serves as before.
        """
        traffic, model = self._traffic, asked.model
        before, version = traffic.start(lambda line: self._say(Step(step=line)))
        began = time.monotonic()
        try:
            with traffic.recording():
                with traffic.shadow() if asked.shadow else nullcontext(Compared()) as compared:
                    if asked.shadow:
                        self._hold(asked, 0, compared)
                    for share in asked.canary[:-1]:
                        self._hold(asked, share, compared)
                self._hold(asked, 100, compared)
                unseen = not traffic.answered(began)[1]
            traffic.take_over()
        except BaseException as error:
            try:
                traffic.withdraw()
            finally:
                traffic.end()
            if isinstance(error, MarsmithError):
                raise ServerError(
                    f"{model} {version} was rolled back: {error.message}",
                    hint=f"{before} serves all requests, as before",
                ) from error
            raise
        try:
            traffic.settle()
            said = f"{model} {version} has all requests"
            if unseen:
                said += ", and has answered none so far: no bound was put to the test"
            self._say(Step(phase="promoted", step=said, share=100))
            traffic.drain()
        finally:
            traffic.end()
        self._say(Step(phase="ended", step=f"{model} {before} has ended", share=100))

    def _hold(self, asked: Rollout, share: int, compared: Compared) -> None:
        """Give the new version a share, and watch it for a while.

        Raises:
            ServerError: it misses a bound.
        """
        self._traffic.share(share)
        began = time.monotonic()
        while True:
            step = self._judge(asked, share, began, compared)
            if time.monotonic() - began >= asked.hold_s:
                break
            if self._cancelled.wait(POLL_S):
                raise ServerError("it was called off")
        self._say(step)

    def _judge(self, asked: Rollout, share: int, since: float, compared: Compared) -> Step:
        self._traffic.check()
        theirs, mine = self._traffic.answered(since)
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


class Rollouts:
    """One rollout at a time, as commands ask for it.

    Args:
        log: takes a line about each step.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log, self._going, self._called_off = log, threading.Lock(), threading.Event()

    def run(self, asked: Rollout, names: Sequence[str], traffic: TwoVersions, say: Say) -> None:
        """Carry one out.

        Args:
            asked: what is asked for.
            names: of the server's models.
            traffic: what it is carried out with.
            say: takes each step.

        Raises:
            ServerError: there is no such model, or another rollout, or it was rolled back.
        """
        if asked.model not in names:
            raise ServerError(no_such("model", asked.model, list(names)))
        if not self._going.acquire(blocking=False):
            raise ServerError("another version is being rolled out", hint="wait until it is done")

        def told(step: Step) -> None:
            self._log(f"rollout: {step.model_dump_json(exclude_defaults=True)}")
            say({"step": step.model_dump(mode="json")})

        try:
            self._called_off.clear()
            Conductor(traffic, self._called_off, told).run(asked)
        except MarsmithError as error:
            self._log(f"rollout: {error.message}")
            raise
        finally:
            self._going.release()

    def call_off(self, *, wait: bool = True) -> None:
        """Have the one that goes on rolled back; `wait`: until it has been."""
        self._called_off.set()
        if wait:
            with self._going:
                return


def refuse_too_large(model: str, pids: Iterable[int], spare_bytes: int = 0) -> None:
    """Refuse a second version that there is no memory for, before anything starts.

    Args:
        model: its name.
        pids: of the workers that there will be twice.
        spare_bytes: what the second version takes beside its workers.

    Raises:
        ServerError: too little is free.
    """
    needed = spare_bytes
    for pid in pids:
        with suppress(psutil.Error):
            needed += psutil.Process(pid).memory_info().rss
    there = memory.free()
    if needed > there:
        raise ServerError(
            f"two versions of {model} need {needed / 1e6:,.0f} MB more;"
            f" {there / 1e6:,.0f} MB are free",
            hint="free memory, or stop the server and serve the new version alone",
        )


def p99_ms(answered: Sequence[Answered]) -> float | None:
    """The 99th percentile of some answers; None if there are too few."""
    if len(answered) < LEAST_ANSWERS:
        return None
    taken = sorted(each.seconds for each in answered)
    return 1000 * taken[int(0.99 * (len(taken) - 1))]
