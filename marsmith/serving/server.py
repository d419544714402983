"""Start a server so that it serves or says why not; stop it so that nothing is lost or left."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import psutil
from pydantic import ValidationError

from marsmith import notebook
from marsmith.archive.reading import Named
from marsmith.atomic import replacing
from marsmith.client.clients import Client
from marsmith.errors import MarsmithError, ServerError, no_such
from marsmith.extras import need
from marsmith.serving import condition, control, notify, on_ray, startup
from marsmith.serving.front.configuration import read_certificate
from marsmith.serving.front.haproxy import find_haproxy
from marsmith.serving.host import finding, intake, processes, run_folder, settings
from marsmith.serving.host.plan import PLAN, Front, LogFormat, Plan
from marsmith.serving.host.ports import DEFAULT_PORT, choose_ports, free_ports, is_free
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.serving.on_ray import LocalPlan
from marsmith.serving.rollout import Rollout, Step
from marsmith.serving.torchserve import readiness
from marsmith.serving.torchserve.archives import find_archives, read_model_name
from marsmith.serving.torchserve.java import find_java
from marsmith.serving.torchserve.readiness import Progress
from marsmith.serving.torchserve.status import ModelStatus, ServerStatus
from marsmith.serving.torchserve.worker_log import LoadWatch

GRACE_S = 30.0
SPARE_S = 60.0
"""How much longer than it may take something is waited for, before it is ended by force."""
WATCH_S = 0.5
ROLLOUT_S = 600.0
"""How long a step of a rollout may take, beside what is held and drained: a start, at most."""
ASK_S = 5.0
LOOPBACK = "127.0.0.1"


def _silent(_: str) -> None:
    return


class Server(ServerInfo):
    """A running server; as a context manager, it is stopped at the end."""

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def predict(
        self,
        model: str,
        body: object,
        *,
        content_type: str | None = None,
        options: Mapping[str, object] | None = None,
        accept: str | None = None,
        deadline_s: float | None = None,
    ) -> Any:
        """Ask a model for a prediction; see `Client.predict`. For many, keep a `client`."""
        with self.client() as client:
            return client.predict(
                model, body, content_type=content_type, options=options, accept=accept,
                deadline_s=deadline_s,
            )  # fmt: skip

    def client(self, timeout_s: float = 60.0) -> Client:
        """Make a client of it, with the key of its own user."""
        return client(self, timeout_s)

    def status(self) -> ServerStatus:
        """What it does now: its addresses, models and workers, and what is wrong."""
        return status(self)

    def rollout(
        self, model: str, archive: Path, on_step: Callable[[Step], None] = lambda _: None,
        **bounds: Any,
    ) -> None:  # fmt: skip
        """Serve another version of a model; see `server.rollout`."""
        rollout(self, model, archive, on_step, **bounds)

    def stop(self, on_progress: Progress = _silent) -> None:
        """Stop it: requests on their way are answered first."""
        stop(self, on_progress)


def serve(
    archives: Sequence[Path | str] | Path | str = (),
    *,
    on: Literal["torchserve", "ray"] = "torchserve",
    model_store: Path = Path("model_store"),
    port: int = DEFAULT_PORT,
    host: str = LOOPBACK,
    front: bool = True,
    keys: bool = True,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    client_ca: Path | None = None,
    insecure_http: bool = False,
    grpc: bool = False,
    trust: Sequence[Path] | None = (),
    timeout_s: float = 300.0,
    grace_s: float = GRACE_S,
    log_format: LogFormat = "text",
    on_progress: Progress | None = None,
) -> Server:
    """Start a server in the background; return when every model answers at full speed.

    Args:
        archives: paths of `.mar` files, or names of archives in the model store, perhaps with
            "@sha256:DIGEST" behind them, or one alone; when empty, all archives in the model store.
        on: what serves: TorchServe, or Ray Serve, which needs no Java; docs/ray.md says which of
            the options below are refused there.
        model_store: the folder that names are looked up in.
        port: where it listens; 0 takes a free one. Without a front, management and metrics take
            the two after it, gRPC the two after those (7070 and 7071 for the default port).
        host: the address that it listens at; another machine's clients need one of this machine.
        front: whether HAProxy stands before TorchServe; without it, TorchServe is on its own, on
            loopback, and all that docs/production.md promises is off.
        keys: whether requests need a key; always, but on loopback.
        tls_cert: a PEM file with the server's certificates; without it, plain HTTP.
        tls_key: a PEM file with its key; by default it is in `tls_cert`.
        client_ca: a PEM file; only clients with a certificate of these may connect.
        insecure_http: plain HTTP on another address than loopback.
        grpc: whether TorchServe's own gRPC service is offered, at the same port.
        trust: public keys, or folders of them: what none of them has signed isn't served, now or
            by a rollout. The folder `trust` of the state folder, if it is there, is asked, too.
            None, with TorchServe, is for who has just made the archives and pins each's digest;
            it holds for rollouts, too.
        timeout_s: how long TorchServe and the models may take to load.
        grace_s: how long a stop waits for requests on their way.
        log_format: of model.log and ts.log: lines for people, or a JSON object each.
        on_progress: takes a few words about each step; by default a notebook shows them.

    Returns:
        The server.

    Raises:
        ArchiveError: an archive is missing, not a sound one, or not signed by whoever is trusted.
        ServerError: no Java, no HAProxy, a taken port, an address that would be open, or a model
            that doesn't load. Nothing is left running then, and the logs are kept; the same holds
            for Ctrl-C and SIGTERM.
    """
    several = [archives] if isinstance(archives, (str, Path)) else archives
    found = find_archives(several, model_store)
    if on == "ray":
        startup.refuse_front_alone(
            no_front=not front, tls_cert=tls_cert, tls_key=tls_key, client_ca=client_ca, grpc=grpc,
            grace_s=grace_s != GRACE_S, log_format=log_format != "text",
        )  # fmt: skip
        startup.refuse_open(host, front=True, keys=keys, tls=False, insecure=insecure_http)
        return _on_ray(found, port, host, keys, trust or (), timeout_s, on_progress)
    startup.refuse_open(
        host, front=front, keys=keys, tls=tls_cert is not None, insecure=insecure_http
    )
    startup.refuse_ignored(front, keys, tls_cert, tls_key, client_ca)
    java_home = find_java()
    ports = None if front else choose_ports(port)
    before = None
    if front:
        before = Front(
            program=find_haproxy(),
            host=host,
            port=port or free_ports(1)[0],
            keys=keys,
            tls_cert=tls_cert and tls_cert.absolute(),
            tls_key=tls_key and tls_key.absolute(),
            client_ca=client_ca and client_ca.absolute(),
            grpc_port=free_ports(1)[0] if grpc else None,
        )
    if before and before.tls_cert:
        read_certificate(before)
    number = before.port if before else ports.inference if ports else port
    run_dir = run_folder.servers_folder() / str(number)
    with run_folder.locked(run_dir), _signals_raise(), notebook.progress(on_progress) as shown:
        _refuse_taken(ports.numbers() if ports else (number,), host)
        trusted = None if trust is None else tuple(place.absolute() for place in trust)
        with intake.taken(found, run_dir, trusted, shown.say) as taken:
            plan = Plan(
                run_dir=run_dir,
                models=tuple(settings.read(name, archive) for name, archive in taken.items()),
                temp_dir=run_folder.make_temp_dir(),
                java_home=java_home,
                front=before,
                ports=ports,
                timeout_s=timeout_s,
                grace_s=grace_s,
                trust=trusted,
                log_format=log_format,
            )
            try:
                run_folder.fill(run_dir, taken, plan.settings())
                with replacing(run_dir / PLAN) as unfinished:
                    unfinished.write_text(plan.model_dump_json(indent=2), encoding="utf-8")
                shown.say(f"TorchServe starts on port {number}")
                return Server(**dict(startup.supervised(plan, shown.say)))
            except BaseException:
                processes.end(plan.temp_dir)
                run_folder.forget(run_dir)
                shutil.rmtree(plan.temp_dir, ignore_errors=True)
                raise


def _on_ray(
    found: Mapping[str, Named], port: int, host: str, keys: bool, trust: Sequence[Path],
    timeout_s: float, on_progress: Progress | None,
) -> Server:  # fmt: skip
    """Start a server on a Ray of its own; see `serve`."""
    need("ray", "ray", "starlette")
    number = port or free_ports(1)[0]
    run_dir = run_folder.servers_folder() / str(number)
    trusted = tuple(place.absolute() for place in trust)
    with run_folder.locked(run_dir), _signals_raise(), notebook.progress(on_progress) as shown:
        _refuse_taken((number,), host)
        temp_dir = run_folder.make_temp_dir()
        try:
            with intake.taken(found, run_dir, trusted, shown.say) as taken:
                kept = on_ray.keep(run_dir, found, taken)
            plan = LocalPlan(
                run_dir=run_dir, temp_dir=temp_dir, host=host, port=number, archives=kept,
                trust=trusted, keys=keys, timeout_s=timeout_s,
            )  # fmt: skip
            on_ray.write(plan)
            return Server(**dict(startup.supervised(plan, shown.say, on_ray.__name__)))
        except BaseException:
            processes.end(temp_dir)
            run_folder.forget(run_dir)
            shutil.rmtree(temp_dir, ignore_errors=True)
            raise


def wait(info: ServerInfo, announce: Callable[[], None] = lambda: None) -> None:
    """Stay with a server until Ctrl-C or SIGTERM, then stop it.

    Under systemd (`Type=notify`) it says when it is ready, that it lives, and that it stops.

    Args:
        info: the server.
        announce: called first, to tell the user about the server; a Ctrl-C during the call stops
            the server, too.

    Raises:
        ServerError: it ended by itself.
    """
    try:
        with _signals_raise():
            announce()
            notify.say("READY=1")
            while finding.is_supervised(info):
                if condition.says(info, "live"):
                    notify.say("WATCHDOG=1")
                time.sleep(WATCH_S)
    except (KeyboardInterrupt, SystemExit):
        return
    finally:
        notify.say("STOPPING=1")
        ended_well = run_folder.read_info(info.run_dir) is None  # another command has stopped it
        stop(info)
    if ended_well:
        return
    raise ServerError(
        f"the server on port {info.port} ended by itself", hint=f"see its logs in {info.logs}"
    )


def running(port: int | None = None) -> Server:
    """Find the running server.

    Whatever dead servers have left is removed.

    Args:
        port: its inference port; None if there is only one.

    Raises:
        ServerError: there is none, or there are several and `port` is None.
    """
    return finding.only(_all_running(), port)


def status(info: ServerInfo) -> ServerStatus:
    """Return what a server does now: its addresses, models and workers, and what is wrong."""
    return condition.status(info)


def scale(
    info: ServerInfo,
    model: str,
    min_workers: int,
    max_workers: int | None = None,
    timeout_s: float = 120.0,
    on_progress: Progress = _silent,
) -> None:
    """Give a model another number of workers, and wait until they are READY.

    Args:
        info: the server.
        model: the name of the model.
        min_workers: how many workers it gets, at least 1.
        max_workers: how many it may keep; None for `min_workers`.
        timeout_s: how long the new workers may take to load.
        on_progress: takes a line when they are ready.

    Raises:
        ServerError: there is no such model, the number is not allowed, or a worker did not load;
            the model is scaled back then.
    """
    if info.on == "ray":
        raise ServerError(
            "a server on Ray has no number of workers to set",
            hint="Ray gives a model workers as the load is, between its minWorkers and maxWorkers",
        )
    most = min_workers if max_workers is None else max_workers
    if not 1 <= min_workers <= most:
        # TorchServe loses track of the workers of a model that it scales to 0.
        message = f"{min_workers} to {most} workers: at least 1, and no more than the maximum"
        raise ServerError(message)
    deadline = time.monotonic() + timeout_s
    with client(info) as api:
        names = api.models()
        if model not in names:
            raise ServerError(no_such("model", model, list(names)))
        said = api.model(model)
        before = ModelStatus.model_validate(said)
        if most > 1 and said.get("continuousBatching"):
            raise ServerError(
                f"{model!r} serves continuously, and must have one worker: an idle one keeps the"
                " others waiting",
                hint="build it without serving.continuous_batching",
            )
        if most > 1 and _keeps_state(api.describe(model)):
            raise ServerError(
                f"{model!r} keeps the state of sequences, and must have one worker: another doesn't"
                " know them",
                hint="serve it on more machines, and let all requests of a sequence reach the same",
            )
        run_folder.note_workers(info.temp_dir, model, most)
        watch = LoadWatch(info.logs)
        check = readiness.start_check(
            watch, lambda: finding.is_alive(info), info.logs / "console.log"
        )
        api.scale(model, min_workers, most)
        try:
            readiness.wait_for_workers(api, {model: min_workers}, check, deadline, on_progress)
        except ServerError:
            run_folder.note_workers(info.temp_dir, model, before.max_workers)
            with suppress(MarsmithError):
                api.scale(model, before.min_workers, before.max_workers)
            raise


def rollout(
    info: ServerInfo,
    model: str,
    archive: Path,
    on_step: Callable[[Step], None] = lambda _: None,
    **bounds: Any,
) -> None:
    """Serve another version of a model: beside the old one, then more and more, then alone.

    Args:
        info: the server.
        model: the name of the model.
        archive: the new version's, of a model of that name.
        on_step: takes each step.
        bounds: those of `Rollout`: `shadow`, `tolerance`, `max_disagreement`, `canary`, `hold_s`,
            `max_error_rate`, `max_p99_ratio`, `grace_s`.

    Raises:
        ArchiveError: the file is not an archive of that model.
        ServerError: it was rolled back, and why; the old version serves as before. The same holds
            for Ctrl-C and SIGTERM.
    """
    named = Named.of(archive)
    if (name := read_model_name(named.path)) != model:
        raise ServerError(f"{archive} holds the model {name!r}, not {model!r}")
    try:
        asked = Rollout(model=model, archive=Path(str(named)).absolute(), **bounds)
    except ValidationError as error:
        said = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        raise ServerError(f"this is no rollout: {said}") from error
    patience = ROLLOUT_S + asked.hold_s + asked.grace_s
    try:
        with _signals_raise():
            asking = {"rollout": asked.model_dump(mode="json")}
            for line in control.ask(info.temp_dir, patience, **asking):
                on_step(Step.model_validate(line["step"]))
    except (KeyboardInterrupt, SystemExit):
        list(control.ask(info.temp_dir, patience, call_off=True))
        raise


def versions(info: ServerInfo) -> dict[str, dict[str, str | None]]:
    """The version of each model that serves, and the one before, which `rollback` serves again."""
    (said,) = control.ask(info.temp_dir, ASK_S, versions=True)
    found: dict[str, dict[str, str | None]] = said["versions"]
    return found


def rollback(
    info: ServerInfo, model: str, on_step: Callable[[Step], None] = lambda _: None
) -> None:
    """Serve the version of a model again that served before the latest rollout, at once.

    Raises:
        ServerError: there was none, or it doesn't load; what serves now serves on then.
    """
    known = versions(info)
    archive = known.get(model, {}).get("archive")
    if archive is None:
        raise ServerError(f"no version of {model!r} has served before on this server")
    rollout(info, model, Path(archive), on_step, canary=(100,), hold_s=0.0, shadow=0.0)


def stop(info: ServerInfo, on_progress: Progress = _silent) -> None:
    """End a server and its workers, and remove what it leaves, except its logs.

    Behind the front, no new requests are taken, and those on their way are answered first, for at
    most the server's grace.

    Args:
        info: the server.
        on_progress: takes a line when there is something to wait for.

    Raises:
        ServerError: a process survived being killed.
    """
    supervisor = processes.find(info.pid, info.create_time)
    if supervisor is not None:
        if info.front:
            on_progress(f"requests on their way are answered, for at most {info.grace_s:g} s")
        with suppress(psutil.NoSuchProcess):
            supervisor.terminate()
        if not processes.ended([supervisor], info.grace_s + SPARE_S):
            with suppress(psutil.NoSuchProcess):
                supervisor.kill()
    processes.end(info.temp_dir)
    shutil.rmtree(info.temp_dir, ignore_errors=True)
    # Another `serve` may have taken the folder over meanwhile, or be starting in it.
    with suppress(ServerError), run_folder.locked(info.run_dir):
        if any(dict(info) == dict(other) for other in run_folder.read_infos()):
            run_folder.forget(info.run_dir)


def _keeps_state(described: Mapping[str, object]) -> bool:
    match described.get("customizedMetadata"):
        case {"input": {"tensors": dict(tensors)}}:
            return any({"state_from", "context"} & {*each} for each in tensors.values())
    return False


def client(info: ServerInfo, timeout_s: float = 60.0) -> Client:
    """Make a client of a server, with the key of its own user."""
    return condition.client(info, timeout_s)


def _refuse_taken(numbers: Sequence[int], host: str) -> None:
    for info in _all_running():
        if info.port in numbers:  # whatever its address: its folder bears the number
            raise ServerError(
                f"port {info.port} is taken by marsmith's own server on port {info.port}, which"
                f" serves {', '.join(info.models)}",
                hint=f"end it with `marsmith stop --port {info.port}`; or choose another --port",
            )
    taken = [number for number in numbers if not is_free(number, host)]
    if not taken:
        return
    raise ServerError(
        f"port {', '.join(map(str, taken))} is taken by another program; this server needs"
        f" {', '.join(map(str, numbers))}",
        hint="choose another with --port; --port 0 takes any that are free",
    )


def _all_running() -> list[Server]:
    """Return the live servers; remove what is left of dead ones."""
    alive = []
    for info in run_folder.read_infos():
        if finding.is_alive(info):
            alive.append(Server(**dict(info)))
        else:
            stop(info)
    return alive


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise SystemExit, so that `except` and `finally` run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {one: signal.signal(one, leave) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
