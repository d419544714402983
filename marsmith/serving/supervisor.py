"""What stays with a server: starts it, tells its front what is true, revives it, lets it drain.

It is a process of its own, started by `server.serve`: it reads the plan in the server's folder,
says in lines of JSON on stdout how the start goes, and ends on SIGTERM.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from traceback import format_exc
from typing import TYPE_CHECKING

import psutil
from prometheus_client import CollectorRegistry, Counter, generate_latest

from marsmith.errors import MarsmithError
from marsmith.serving.front import keys, metadata
from marsmith.serving.front.access import AccessLog
from marsmith.serving.front.front import HAProxy
from marsmith.serving.front.keys import Key
from marsmith.serving.front.pace import Pace
from marsmith.serving.front.scrape import Scrape
from marsmith.serving.host import processes, run_folder
from marsmith.serving.host.plan import PLAN, ModelPlan, Plan
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.serving.host.settings import ROUNDS
from marsmith.serving.revival import Revival
from marsmith.serving.torchserve.instance import ASK_S, Keys, TorchServe
from marsmith.serving.torchserve.launch import LAUNCH_S
from marsmith.serving.torchserve.readiness import Progress

if TYPE_CHECKING:
    from handlers.schema import Json

TICK_S = 0.25
STOP_S = 10.0
"""How long TorchServe itself may take over stopping, once nothing is on its way."""


class Supervisor:
    """One server, from its start to its end.

    Args:
        plan: what it is started from.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._registry = CollectorRegistry()
        self._torchserve = TorchServe(plan)
        self._access = AccessLog(plan.run_dir / "logs" / "access.log", self._registry)
        self._haproxy = HAProxy(plan, plan.front, self._access) if plan.front else None
        self._scrape: Scrape | None = None
        self._key = keys.make()
        self._local = Key(
            name=keys.LOCAL, sha256=keys.digest(self._key), scopes=keys.SCOPES, added=time.time()
        )
        self._theirs = Keys("-", "-")
        self._pace = Pace(plan, self._access, self._registry)
        self._revivals = {"haproxy": Revival(), "torchserve": Revival()}
        self._reviving: threading.Thread | None = None
        self._ready: dict[str, int] = {}
        self._said = ""
        self._stop = threading.Event()
        self._restarts = Counter(
            "marsmith_restarts", "What died and was started again.", ["what"],
            registry=self._registry,
        )  # fmt: skip

    # -- Start ---------------------------------------------------------------------------------

    def start(self, on_progress: Progress) -> ServerInfo:
        """Start everything, and return when every model answers at full speed.

        Raises:
            MarsmithError: it doesn't; whatever was started may still run, see `end`.
        """
        plan, deadline = self._plan, time.monotonic() + self._plan.timeout_s
        self._torchserve.start(deadline, on_progress)
        self._pace.begin(self._torchserve.warm_up(on_progress))
        self._write_keys()
        if self._haproxy:
            described = {model.name: self._metadata(model) for model in plan.models}
            self._scrape = Scrape(plan.socket("supervisor"), self._metrics)
            self._haproxy.configure(described)
            self._haproxy.start()
            self._look()
        me = psutil.Process()
        info = ServerInfo(
            **self._addresses(),
            front=self._haproxy is not None,
            pid=me.pid,
            create_time=me.create_time(),
            grace_s=plan.grace_s,
            temp_dir=plan.temp_dir,
            run_dir=plan.run_dir,
            models=plan.names,
        )
        run_folder.write_info(info)
        return info

    def _metadata(self, model: ModelPlan) -> dict[str, Json]:
        described = self._torchserve.describe(model.name)
        with self._torchserve.client(ASK_S) as client:
            return metadata.of(model, described, partial(client.predict, model.name))

    def _write_keys(self) -> None:
        """Take the keys of TorchServe's latest run, and write those for this user's commands."""
        self._theirs = self._torchserve.keys()
        inference = self._key if self._haproxy else self._theirs.inference
        run_folder.write_keys(self._plan.run_dir, inference, self._theirs.management)

    def _addresses(self) -> dict[str, object]:
        plan, own = self._plan, self._torchserve.addresses
        if plan.front:
            grpc = f"{plan.front.host}:{plan.front.port}" if plan.front.grpc_port else None
            address = plan.front.address
            return {
                "port": plan.front.port,
                "inference_address": address,
                "management_address": own["management"],
                "metrics_address": address,
                "grpc_address": grpc,
            }
        ports = plan.ports
        if ports is None:
            raise MarsmithError("a server without a front needs ports")
        return {
            "port": ports.inference,
            **{f"{api}_address": address for api, address in own.items()},
            "grpc_address": f"127.0.0.1:{ports.grpc_inference}",
        }

    # -- While it runs -------------------------------------------------------------------------

    def watch(self) -> None:
        """Keep it alive and its front truthful, until it is told to stop."""
        while not self._stop.wait(TICK_S):
            try:
                self._look()
                self._said = ""
            except Exception as error:  # whatever it is, those who serve go on
                said = error.message if isinstance(error, MarsmithError) else format_exc()
                if said != self._said:
                    _log(said)
                self._said = said

    def stop(self) -> None:
        """Tell it to stop: `watch` returns."""
        self._stop.set()

    def _look(self) -> None:
        self._revive_torchserve()
        if self._haproxy is None:
            return
        if not self._haproxy.alive:
            self._revive("haproxy", self._haproxy.start)
            if not self._haproxy.alive:
                return
        self._haproxy.tell_keys([self._local, *keys.kept()])
        self._count_workers()
        up = {name: "up" if self._ready.get(name) else "down" for name in self._plan.names}
        self._haproxy.tell("up", up)
        every = all(state == "up" for state in up.values())
        self._tell_state("ready" if every else "waiting")
        self._haproxy.tell("beat", {"beat": str(int(time.time()))})
        with suppress(MarsmithError):
            self._haproxy.take_new_certificate()
        self._pace.measure(self._haproxy, self._ready)

    def _tell_state(self, state: str) -> None:
        if self._haproxy:
            self._haproxy.tell("state", {"server": state, "inference": self._theirs.inference})

    def _count_workers(self) -> None:
        """Ask how many workers are ready, and take those from them that have gone meanwhile."""
        models = self._torchserve.models() if self._torchserve.alive else {}
        self._ready = {}
        for name, model in models.items():
            pids = [worker.pid for worker in model.workers if worker.ready]
            self._ready[name] = sum(map(psutil.pid_exists, pids))
            if self._haproxy:
                at_once = ROUNDS * model.batch_size * model.max_workers
                self._pace.scaled(name, at_once)
                self._haproxy.tell_at_once(name, at_once)

    def _metrics(self) -> bytes:
        return generate_latest(self._registry) + self._torchserve.metrics()

    # -- What has died -------------------------------------------------------------------------

    def _revive(self, what: str, start: Callable[[], None]) -> None:
        revival = self._revivals[what]
        if not revival.due():
            return
        revival.begin()
        self._restarts.labels(what).inc()
        _log(f"{what} has died, and is started again")
        try:
            start()
        except Exception as error:  # as in watch
            said = error.message if isinstance(error, MarsmithError) else format_exc()
            _log(f"{what} did not start: {said}")

    def _revive_torchserve(self) -> None:
        """Start TorchServe again, in a thread, so that the front is told the truth meanwhile."""
        if self._torchserve.alive or (self._reviving and self._reviving.is_alive()):
            return

        def start() -> None:
            deadline = time.monotonic() + self._plan.timeout_s
            self._torchserve.start(deadline, lambda _: None)
            self._write_keys()

        self._reviving = threading.Thread(
            target=self._revive, args=("torchserve", start), daemon=True, name="revival"
        )
        self._reviving.start()

    # -- The end -------------------------------------------------------------------------------

    def drain(self, on_progress: Progress = lambda _: None) -> None:
        """Take no new requests, and wait for those on their way, at most for the grace."""
        if self._haproxy is None or not self._haproxy.alive:
            return
        until = time.monotonic() + self._plan.grace_s
        with suppress(MarsmithError):
            self._tell_state("draining")
        said = None
        while time.monotonic() < until and self._torchserve.alive:
            left = self._haproxy.on_its_way()
            if not left:
                break
            if left != said:
                on_progress(f"{left} requests are on their way")
                said = left
            time.sleep(TICK_S / 5)
        self._haproxy.close()

    def end(self) -> None:
        """End everything, and remove what it leaves, except its logs."""
        plan = self._plan
        if self._haproxy:
            self._haproxy.end()
        if self._scrape:
            self._scrape.end()
        self._torchserve.end(STOP_S if self._torchserve.alive else 0.0)
        if self._reviving:  # it finds that what it has started is ended, and gives up
            self._reviving.join(LAUNCH_S)
        processes.end(None, plan.temp_dir, 0.0)
        self._access.close()
        run_folder.forget(plan.run_dir)
        shutil.rmtree(plan.temp_dir, ignore_errors=True)


def _log(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def _say(**what: object) -> None:
    """Say a line of JSON to whoever has started this process."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(run_dir: Path) -> int:
    """Supervise a server until SIGTERM."""
    supervisor = Supervisor(Plan.model_validate_json((run_dir / PLAN).read_bytes()))
    told = threading.Event()

    def leave(*_: object) -> None:
        if told.is_set():
            supervisor.stop()
        else:
            raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        info = supervisor.start(lambda line: _say(progress=line))
        told.set()
        _say(ready=info.model_dump(mode="json"))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever listened may be gone
        supervisor.watch()
        supervisor.drain(_log)
    except MarsmithError as error:
        _say(error=error.message, hint=error.hint)
        return 1
    finally:
        supervisor.end()
    return 0
