"""The TorchServes behind one front: the one that serves, and in a rollout another beside it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from marsmith.errors import ServerError
from marsmith.serving.backoff import Backoff
from marsmith.serving.front.front import HAProxy
from marsmith.serving.host import run_folder
from marsmith.serving.host.plan import SIDES, ModelPlan, Plan
from marsmith.serving.host.settings import at_once
from marsmith.serving.torchserve.instance import Keys, TorchServe
from marsmith.serving.torchserve.launch import LAUNCH_S
from marsmith.serving.torchserve.readiness import Progress

"""How long TorchServe itself may take over stopping, once nothing is on its way."""


class Side:
    """One TorchServe, with what is known of it.

    Attributes:
        plan: its own.
        torchserve: it.
        keys: of its latest run.
        ready: workers that are ready, by model.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.torchserve = plan, TorchServe(plan)
        self.keys = Keys("-", "-")
        self.ready: dict[str, int] = {}
        self.at_once: dict[str, int] = {}
        self._counting = threading.Lock()
        self.backoff = Backoff()
        self.reviving: threading.Thread | None = None

    def start(self, on_progress: Progress) -> None:
        """Start it, and take its keys.

        Raises:
            ServerError: it doesn't start, or a model doesn't load.
        """

        def connected() -> None:
            self.keys = self.torchserve.keys()

        deadline = time.monotonic() + self.plan.timeout_s
        self.torchserve.start(deadline, on_progress, connected)

    def count(self) -> None:
        """Ask how many workers are ready, and take those from them that have gone meanwhile."""
        with self._counting:  # an older answer must not replace a newer one
            models = self.torchserve.models() if self.torchserve.alive else {}
            ready = {}
            for name, model in models.items():
                pids = [worker.pid for worker in model.workers if worker.ready]
                ready[name] = sum(map(psutil.pid_exists, pids))
                most = next(each.most for each in self.plan.models if each.name == name)
                self.at_once[name] = at_once(model.batch_size, ready[name], most)
            self.ready = ready  # all at once: others read it meanwhile

    def revive(self, start: Callable[[], None]) -> None:
        """Start it again, in a thread, if it has died and it is time."""
        if self.torchserve.alive or not self.backoff.due():
            return
        if self.reviving is None or not self.reviving.is_alive():
            self.backoff.begin()
            self.reviving = threading.Thread(target=start, daemon=True, name="revival")
            self.reviving.start()

    def end(self) -> None:
        """End it."""
        self.torchserve.call_off()
        self.torchserve.end()
        if self.reviving:
            self.reviving.join(LAUNCH_S)
            self.torchserve.end()


class Sides:
    """The sides of one server; one of them is active.

    Args:
        plan: the server's.
        haproxy: its front, if it has one.
    """

    def __init__(self, plan: Plan, haproxy: HAProxy | None) -> None:
        self._plan, self._haproxy = plan, haproxy
        self.active = SIDES[0]
        self._sides = {self.active: Side(plan)}
        self._shares: dict[str, int] = {}
        self._of_b = dict.fromkeys(plan.names, "0")

    @property
    def plan(self) -> Plan:
        """The server's."""
        return self._plan

    @property
    def serving(self) -> Side:
        """The active side."""
        return self._sides[self.active]

    @property
    def candidate(self) -> Side | None:
        """The other one, in a rollout."""
        return self._sides.get(self.other)

    @property
    def other(self) -> str:
        """The name of the side that is not active."""
        return SIDES[1 - SIDES.index(self.active)]

    def all(self) -> Mapping[str, Side]:
        """Those that there are, by name."""
        return dict(self._sides)

    def count(self) -> None:
        """Ask every side how many workers are ready."""
        for name, side in self.all().items():
            side.count()
            if self._haproxy:
                for model, at_once in side.at_once.items():
                    self._haproxy.tell_at_once(model, name, at_once)

    def ready(self) -> dict[str, int]:
        """Workers that are ready and get requests, by model."""
        found = {}
        for name in self._plan.names:
            share = self._shares.get(name, 0)
            found[name] = self.serving.ready.get(name, 0) if share < 100 else 0
            if share and self.candidate:
                found[name] += self.candidate.ready.get(name, 0)
        return found

    def tell_keys(self) -> None:
        """Tell the front the key of each side."""
        if self._haproxy:
            known = {name: side.keys.inference for name, side in self.all().items()}
            self._haproxy.tell("sides", {**dict.fromkeys(SIDES, "-"), **known})

    def socket(self, side: str) -> Path:
        """Where a side takes requests that have the key of the first; or the shadow any."""
        return self._plan.socket({"a": "inference", "b": "b.front"}.get(side, side))

    def start_candidate(self, model: ModelPlan, archive: Path, on_progress: Progress) -> None:
        """Start another TorchServe beside the active one, with one model from another archive.

        Args:
            model: how the model is to be served.
            archive: its archive, in the server's folder.
            on_progress: takes a line about each step.

        Raises:
            ServerError: it doesn't start, or a model doesn't load; what was started is ended.
        """
        models = [model if each.name == model.name else each for each in self.serving.plan.models]
        plan = self._plan.side(self.other, tuple(models))
        store = self.serving.plan.run_dir / "torchserve" / "store"
        archives = {name: store / f"{name}.mar" for name in plan.names}
        run_folder.fill_torchserve(plan.run_dir, {**archives, model.name: archive}, plan.settings())
        plan.temp_dir.mkdir(mode=0o700, exist_ok=True)
        side = Side(plan)
        self.serving.count()  # what was scaled just now is known, too
        side.torchserve.scaled.update(self.serving.torchserve.scaled)
        self._sides[self.other] = side
        try:
            side.start(on_progress)
            side.torchserve.warm_up(on_progress)
            side.count()
        except BaseException:
            self.end_candidate()
            raise

    def share(self, model: str, percent: int) -> None:
        """Give the candidate a share of a model's requests.

        Args:
            model: its name.
            percent: 0 to 100.
        """
        if self._haproxy is None:
            raise ServerError("without the front there is nothing that could share requests")
        self.tell_keys()
        self._shares[model] = percent
        of_b = percent if self.other == SIDES[1] else 100 - percent
        self._of_b[model] = str(of_b)
        self._haproxy.tell("shares", self._of_b)
        self._haproxy.tell_weights(model, dict(zip(SIDES, (100 - of_b, of_b), strict=True)))
        self._haproxy.tell("versions_sides", self._versions())

    def _versions(self) -> dict[str, str]:
        """Which side has a version that a request names; of equal ones, the active side."""
        new = self.candidate.plan.models if self.candidate else ()
        found = {each: self.other for each in new if self._shares.get(each.name)}
        found |= dict.fromkeys(self.serving.plan.models, self.active)
        return {f"{model.name}/{model.version}": side for model, side in found.items()}

    def keep_before(self, model: str) -> None:
        """Keep the archive that serves, for a way back.

        Raises:
            OSError: it can't be copied.
        """
        store = self.serving.plan.run_dir / "torchserve" / "store"
        run_folder.keep_before(self._plan.run_dir, model, store / f"{model}.mar")

    def promote(self) -> None:
        """Make the candidate the active side, for all models; the other one is the candidate."""
        self.active = self.other

    def share_nothing(self) -> None:
        """Take all requests of all models from the candidate.

        Raises:
            ServerError: the front does not answer.
        """
        for name in self._plan.names:
            self.share(name, 0)
        self._shares = {}

    def end_candidate(self) -> None:
        """End the candidate, if there is one."""
        side = self._sides.pop(self.other, None)
        if side is not None:
            if self._haproxy:
                with suppress(ServerError):  # a front that has died gives it nothing
                    for name in side.plan.names:
                        self._haproxy.rest(name, self.other)
            side.end()
            if side.plan.temp_dir != self._plan.temp_dir:
                shutil.rmtree(side.plan.temp_dir, ignore_errors=True)

    def end(self) -> None:
        """End all."""
        for side in self.all().values():
            side.end()
