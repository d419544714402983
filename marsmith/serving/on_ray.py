"""Archives on a Ray of this machine alone, which begins and ends with its server, without Java.

`serve` starts a supervisor, `main`, as a TorchServe has one: it starts Ray, says how that goes,
answers what commands ask, and ends Ray on SIGTERM.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

from marsmith.archive.reading import PIN, Named
from marsmith.atomic import replacing
from marsmith.errors import MarsmithError, ServerError
from marsmith.serving.control import SOCKET, Control, Say, ask
from marsmith.serving.front import keys
from marsmith.serving.host import run_folder
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.serving.ray import served
from marsmith.serving.ray.deployed import APPLICATION, Applications, replicas
from marsmith.serving.ray.node import Node
from marsmith.serving.ray.served import Served
from marsmith.serving.rollout import Rollout, Rollouts
from marsmith.serving.torchserve.status import ModelStatus, ServerStatus
from marsmith.serving.two_applications import TwoApplications, keep_one

PLAN, OWN_KEYS, STORE = run_folder.OF_RAY
OF_EACH = 3
"""In a rollout there may be so many of each replica: the old, the new, and what takes over."""
GRACE_S = 20.0
"""How long Ray waits for requests on their way, by default."""
ASK_S = 10.0


class LocalPlan(BaseModel):
    """What a server on Ray is started from.

    Attributes:
        run_dir: its folder.
        temp_dir: of Ray's files and of extracted models.
        host: the address that it listens at.
        port: where.
        archives: as `PATH@sha256:DIGEST`.
        trust: public keys, one of which must have signed each archive.
        keys: whether requests need a key.
        timeout_s: how long the models may take to load.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_dir: Path
    temp_dir: Path
    host: str
    port: int
    archives: tuple[str, ...]
    trust: tuple[Path, ...]
    keys: bool
    timeout_s: float


def keep(run_dir: Path, found: Mapping[str, Named], taken: Mapping[str, Path]) -> tuple[str, ...]:
    """Keep archives that were taken in, for replicas that are started later.

    Args:
        run_dir: the server's folder.
        found: the archives by the names of their models.
        taken: the copies that were checked.

    Returns:
        Where they are, each with "@sha256:DIGEST" behind it.
    """
    store = run_dir / STORE
    shutil.rmtree(store, ignore_errors=True)
    kept = [keep_one(store, found[name].path, copy) for name, copy in taken.items()]
    return tuple(model.archive for model in served.read(tuple(map(str, kept))))


def write(plan: LocalPlan) -> None:
    """Fill the folder of a server with what its supervisor reads."""
    (plan.run_dir / "logs").mkdir(parents=True, exist_ok=True)
    with replacing(plan.run_dir / PLAN) as unfinished:
        unfinished.write_text(plan.model_dump_json(indent=2), encoding="utf-8")


def status(info: ServerInfo) -> ServerStatus:
    """Return what a server does now: its address, models and workers, and what is wrong."""
    problems: list[str] = []
    models: tuple[ModelStatus, ...] = ()
    try:
        (said,) = ask(info.temp_dir, ASK_S, status=True)
        models = tuple(ModelStatus.model_validate(each) for each in said["models"])
    except (MarsmithError, ValueError) as error:
        problems.append(f"its supervisor does not answer: {error}")
    problems += [
        f"{model.name} has no worker that is ready"
        for model in models
        if not any(worker.ready for worker in model.workers)
    ]
    return ServerStatus(
        ready=not problems,
        problems=tuple(problems),
        inference_address=info.inference_address,
        management_address=None,
        metrics_address=None,
        grpc_address=None,
        key_file=info.key_file,
        models=models,
    )


class Local:
    """A Ray of this machine with an application on it, from its start to its end.

    Args:
        plan: what it is started from.
    """

    def __init__(self, plan: LocalPlan) -> None:
        self._plan = plan
        self._models = [model.here() for model in served.read(plan.archives)]
        self._before: dict[str, Served] = {}
        self._rollouts = Rollouts(_log)
        self._control: Control | None = None
        self._node = Node(plan.temp_dir)

    def start(self) -> ServerInfo:
        """Start all of it, and return when every model answers.

        Raises:
            MarsmithError: it doesn't; whatever was started may still run, see `end`.
        """
        from ray import serve

        from marsmith.serving.ray.arguments import ApplicationArguments

        plan = self._plan
        own = self._write_keys()
        cores = OF_EACH * sum(_cores(model) for model in self._models)
        self._node.start(max(os.cpu_count() or 1, cores))
        http = {"host": plan.host, "port": plan.port, "location": "HeadOnly"}
        serve.start(http_options=http)
        arguments = ApplicationArguments(archives=plan.archives, trust=plan.trust, keys=plan.keys)
        deployed = self._deployed = Applications(arguments, own, plan.temp_dir / "ray")
        deployed.run()
        self._control = Control(plan.temp_dir / SOCKET, self._asked)
        info = self._info()
        run_folder.write_info(info)
        return info

    def end(self) -> None:
        """End the application, whose requests are answered first, and Ray."""
        from ray import serve

        if self._control:
            self._rollouts.call_off()
            self._control.end()
        if self._node.runs:
            with suppress(Exception):  # what is half-started can't be told to end
                serve.delete(APPLICATION)
            with suppress(Exception):
                serve.shutdown()
        self._node.end()

    def _write_keys(self) -> Path:
        """Make a key for the commands of this user, and write it where the application reads it."""
        key = keys.make()
        run_folder.write_keys(self._plan.run_dir, key, "-")
        file = self._plan.run_dir / OWN_KEYS
        keys.write_local(file, key)
        return file

    def _info(self) -> ServerInfo:
        plan, me = self._plan, psutil.Process()
        host = f"[{plan.host}]" if ":" in plan.host else plan.host
        return ServerInfo(
            port=plan.port,
            inference_address=f"http://{host}:{plan.port}",
            management_address=None,
            metrics_address=None,
            front=False,
            on="ray",
            pid=me.pid,
            create_time=me.create_time(),
            grace_s=GRACE_S,
            temp_dir=plan.temp_dir,
            run_dir=plan.run_dir,
            models=tuple(model.name for model in self._models),
        )

    def _asked(self, what: Mapping[str, Any], say: Say) -> None:
        match what:
            case {"status": True}:
                say({"models": [self._said_of(model) for model in self._models]})
            case {"versions": True}:
                say({"versions": {model.name: self._versions(model) for model in self._models}})
            case {"rollout": dict(asked)}:
                self._roll_out(Rollout.model_validate(asked), say)
            case {"call_off": True}:
                self._rollouts.call_off()
            case _:
                raise ServerError(
                    "a server on Ray does not do that",
                    hint="serve it on TorchServe, without --on ray",
                )

    def _roll_out(self, asked: Rollout, say: Say) -> None:
        names = [model.name for model in self._models]
        store = self._plan.run_dir / STORE
        traffic = TwoApplications(self._deployed, self._plan.run_dir, store, asked, self._promoted)
        self._rollouts.run(asked, names, traffic, say)

    def _promoted(self, new: Served) -> None:
        """Know which version serves, and keep the archive of the one before alone."""
        old = next(model for model in self._models if model.name == new.name)
        self._models = [new if model is old else model for model in self._models]
        older, self._before[new.name] = self._before.get(new.name), old
        if older:
            shutil.rmtree(_file(older).parent, ignore_errors=True)

    def _versions(self, model: Served) -> dict[str, str | None]:
        """The version that serves, and the one that would at a rollback."""
        found: dict[str, str | None] = {"serving": model.plan.version, "before": None}
        if before := self._before.get(model.name):
            found |= {"before": before.plan.version, "archive": str(_file(before))}
        return found

    def _said_of(self, model: Served) -> dict[str, Any]:
        """What TorchServe's management API would say of a model."""
        fewest, most = model.replicas
        return {
            "modelName": model.name,
            "modelVersion": model.plan.version,
            "minWorkers": fewest,
            "maxWorkers": most,
            "batchSize": model.batch_size,
            "workers": list(replicas(model.name)),
        }


def _cores(model: Served) -> int:
    """How many cores Ray must count for all replicas that a model may get."""
    return model.replicas[1] * int(model.options()["ray_actor_options"]["num_cpus"])


def _file(model: Served) -> Path:
    return Path(model.archive.rpartition(PIN)[0])


def _log(line: str) -> None:
    with suppress(OSError):  # of a full disk
        sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {line}\n")
        sys.stderr.flush()


def _say(**what: object) -> None:
    """Say a line of JSON to whoever has started this process."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(run_dir: Path) -> int:
    """Keep a server on Ray until SIGTERM."""
    plan = LocalPlan.model_validate_json((run_dir / PLAN).read_bytes())
    told, stopping = threading.Event(), threading.Event()

    def leave(*_: object) -> None:
        stopping.set()
        if not told.is_set():
            raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    local = Local(plan)
    try:
        _say(progress=f"Ray starts on port {plan.port}")
        info = local.start()
        told.set()
        _say(ready=info.model_dump(mode="json"))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever listened may be gone
        stopping.wait()
    except MarsmithError as error:
        _say(error=error.message, hint=error.hint)
        return 1
    finally:
        local.end()
        run_folder.forget(run_dir)
        shutil.rmtree(plan.temp_dir, ignore_errors=True)
    return 0
