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
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from traceback import format_exc
from typing import Any

import psutil
from prometheus_client import CollectorRegistry, Counter, generate_latest

from marsmith.errors import MarsmithError, ServerError
from marsmith.serving.backoff import Backoff
from marsmith.serving.control import SOCKET, Control, Say
from marsmith.serving.front import keys, metadata
from marsmith.serving.front.access import AccessLog
from marsmith.serving.front.front import HAProxy
from marsmith.serving.front.keys import Key
from marsmith.serving.front.memory import Memory
from marsmith.serving.front.pace import Pace
from marsmith.serving.front.scrape import Scrape
from marsmith.serving.host import processes, run_folder, settings
from marsmith.serving.host.plan import PLAN, Plan
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.serving.rollout import Rollout, Rollouts
from marsmith.serving.sides import Sides
from marsmith.serving.torchserve.instance import ASK_S, Keys
from marsmith.serving.torchserve.readiness import Progress
from marsmith.serving.two_sides import TwoSides

TICK_S = 0.25
CLOSE_S = 2.0


class Supervisor:
    """One server, from its start to its end.

    Args:
        plan: what it is started from.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._registry = CollectorRegistry()
        self._access = AccessLog(plan.run_dir / "logs" / "access.log", self._registry)
        self._haproxy = HAProxy(plan, plan.front, self._access) if plan.front else None
        self._sides = Sides(plan, self._haproxy)
        self._scrape: Scrape | None = None
        self._key = keys.make()
        self._local = Key(
            name=keys.LOCAL, sha256=keys.digest(self._key), scopes=keys.SCOPES, added=time.time()
        )
        self._registry.register(Memory(plan.temp_dir))
        self._pace = Pace(plan, self._access, self._registry)
        self._backoff = Backoff()
        self._said: dict[str, str] = {}
        self._stopping = False
        self._written = Keys("-", "-")
        self._control: Control | None = None
        self._rollouts = Rollouts(_log)
        self._restarts = Counter(
            "marsmith_restarts", "What died and was started again.", ["what"],
            registry=self._registry,
        )  # fmt: skip
        for what in ("torchserve", "haproxy"):  # from 0 on: a first restart is an increase, too
            self._restarts.labels(what)

    # -- Start ---------------------------------------------------------------------------------

    def start(self, on_progress: Progress) -> ServerInfo:
        """Start everything, and return when every model answers at full speed.

        Raises:
            MarsmithError: it doesn't; whatever was started may still run, see `end`.
        """
        plan = self._plan
        self._sides.serving.start(on_progress)
        self._pace.begin(self._sides.serving.torchserve.warm_up(on_progress))
        self._write_keys()
        if self._haproxy:
            described = self._metadata()
            self._scrape = Scrape(plan.socket("supervisor"), self._metrics)
            self._haproxy.configure(described)
            self._haproxy.start()
            self._look()
            self._control = Control(plan.socket(SOCKET), self._asked)
        info = self._info()
        run_folder.write_info(info)
        return info

    def _info(self) -> ServerInfo:
        me = psutil.Process()
        return ServerInfo(
            **self._addresses(),
            front=self._haproxy is not None,
            pid=me.pid,
            create_time=me.create_time(),
            grace_s=self._plan.grace_s,
            temp_dir=self._plan.temp_dir,
            run_dir=self._plan.run_dir,
            models=self._plan.names,
        )

    def _metadata(self) -> dict[str, str]:
        """What the models take and answer that serve now, in JSON."""
        side = self._sides.serving
        found = {}
        with side.torchserve.client(ASK_S) as client:
            for model in side.plan.models:
                described = side.torchserve.describe(model.name)
                said = metadata.of(model, described, partial(client.predict, model.name))
                found[model.name] = json.dumps(said, separators=(",", ":"))
        return found

    def _write_keys(self) -> None:
        """Write the keys for this user's commands."""
        theirs = self._written = self._sides.serving.keys
        inference = self._key if self._haproxy else theirs.inference
        run_folder.write_keys(self._plan.run_dir, inference, theirs.management)

    def _addresses(self) -> dict[str, object]:
        plan, own = self._plan, self._sides.serving.torchserve.addresses
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
        while not self._stopping:
            self._try("the supervisor", self._look)
            time.sleep(TICK_S)  # a signal ends it early or not; no lock that its handler waits for

    def stop(self) -> None:
        """Tell it to stop: `watch` returns."""
        self._stopping = True
        self._rollouts.call_off(wait=False)

    def _look(self) -> None:
        """Do all that is to be done again and again; what fails does not keep the rest from it."""
        side = self._sides.serving
        if side.keys != self._written:
            self._try("its keys", self._write_keys)
        # A candidate that dies is not revived: its rollout is rolled back.
        side.revive(partial(self._revive, "torchserve", partial(side.start, lambda _: None)))
        haproxy = self._haproxy
        if haproxy is None:
            return
        if not haproxy.alive:
            if not self._backoff.due():
                return
            self._backoff.begin()
            self._revive("haproxy", haproxy.start)
        if self._plan.front and self._plan.front.keys:
            self._try("keys", self._tell_keys)
        self._try("sides", self._sides.tell_keys)
        self._try("workers", self._sides.count)
        self._try("truth", self._tell_truth)
        self._try("the certificate", haproxy.take_new_certificate)
        self._try("pace", lambda: self._pace.measure(haproxy, self._sides.ready()))

    def _try(self, what: str, do: Callable[[], object]) -> None:
        """Do something; log what goes wrong, once."""
        said = ""
        try:
            do()
        except Exception as error:  # whatever it is, those who serve go on
            said = error.message if isinstance(error, MarsmithError) else format_exc()
        if said and said != self._said.get(what):
            _log(f"{what}: {said}")
        self._said[what] = said

    def _tell_keys(self) -> None:
        if self._haproxy:
            self._haproxy.tell_keys([self._local, *keys.kept()])

    def _tell_truth(self) -> None:
        if self._haproxy:
            ready = self._sides.ready()
            self._haproxy.tell("up", {name: "up" if n else "down" for name, n in ready.items()})
            self._tell_state("ready" if all(ready.values()) else "waiting")

    def _tell_state(self, state: str) -> None:
        if self._haproxy:
            self._haproxy.tell("state", {"server": state})
            self._haproxy.tell("beat", {"beat": str(int(time.time()))})

    def _metrics(self) -> bytes:
        return generate_latest(self._registry) + self._sides.serving.torchserve.metrics()

    # -- What is asked of it -------------------------------------------------------------------

    def _asked(self, what: Mapping[str, Any], say: Say) -> None:
        match what:
            case {"rollout": dict(asked)}:
                self._roll_out(Rollout.model_validate(asked), say)
            case {"call_off": True}:
                self._rollouts.call_off()
            case {"versions": True}:
                say({"versions": self._versions()})
            case _:
                raise ServerError(f"the supervisor does not know what {sorted(what)} means")

    def _roll_out(self, asked: Rollout, say: Say) -> None:
        if self._haproxy is None:
            raise ServerError("without the front there is nothing that could share requests")
        promoted, names = self._promoted, self._plan.names
        sides = TwoSides(self._sides, self._haproxy, self._access, asked, promoted)
        self._rollouts.run(asked, names, sides, say)

    def _promoted(self) -> None:
        """Say everywhere that another side serves now."""
        self._write_keys()
        run_folder.write_info(self._info())
        if self._haproxy:
            versions = {each.name: each.version for each in self._sides.serving.plan.models}
            self._haproxy.tell("versions", versions)
            self._haproxy.tell("metadata", self._metadata())

    def _versions(self) -> dict[str, dict[str, object]]:
        """The versions of each model: what serves, and what would at a rollback."""
        found: dict[str, dict[str, object]] = {}
        for model in self._sides.serving.plan.models:
            kept = run_folder.before(self._plan.run_dir, model.name)
            earlier = settings.read(model.name, kept).version if kept.exists() else None
            found[model.name] = {"serving": model.version, "before": earlier}
            if earlier is not None:
                found[model.name]["archive"] = str(kept)
        return found

    # -- What has died -------------------------------------------------------------------------

    def _revive(self, what: str, start: Callable[[], None]) -> None:
        self._restarts.labels(what).inc()
        _log(f"{what} has died, and is started again")
        try:
            start()
        except Exception as error:  # as in watch
            said = error.message if isinstance(error, MarsmithError) else format_exc()
            _log(f"{what} did not start: {said}")

    # -- The end -------------------------------------------------------------------------------

    def drain(self, on_progress: Progress = lambda _: None) -> None:
        """Take no new requests, and wait for those on their way, at most for the grace."""
        if self._haproxy is None or not self._haproxy.alive:
            return
        until = time.monotonic() + self._plan.grace_s
        said = None
        while time.monotonic() < until and self._sides.serving.torchserve.alive:
            self._try("the drain", lambda: self._tell_state("draining"))
            left = self._haproxy.on_its_way()
            if left == 0:
                break
            if left is not None and left != said:
                on_progress(f"{left} requests are on their way")
                said = left
            time.sleep(TICK_S / 5)
        self._haproxy.close()
        self._haproxy.end(CLOSE_S)  # what is written may not have been sent yet

    def end(self) -> None:
        """End everything."""
        plan = self._plan
        if self._haproxy:
            self._haproxy.end()
        for server in (self._scrape, self._control):
            if server:
                server.end()
        self._sides.end()
        processes.end(plan.temp_dir)
        self._access.close()
        shutil.rmtree(plan.temp_dir, ignore_errors=True)


def _log(line: str) -> None:
    with suppress(OSError):  # of a full disk
        sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {line}\n")
        sys.stderr.flush()


def _say(**what: object) -> None:
    """Say a line of JSON to whoever has started this process."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(run_dir: Path) -> int:
    """Supervise a server until SIGTERM."""
    plan = Plan.model_validate_json((run_dir / PLAN).read_bytes())
    supervisor = Supervisor(plan)
    told = threading.Event()
    crashed = False

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
    except Exception:
        crashed = told.is_set()
        raise
    finally:
        supervisor.end()
        if not crashed:  # whoever waits for the server tells a stop from a crash by what is left
            run_folder.forget_own(run_dir, plan.temp_dir)
    return 0
