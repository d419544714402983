"""Start TorchServe so that it serves or says why not; stop it so that nothing is left."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from marsmith.client.clients import Client
from marsmith.errors import MarsmithError, ServerError
from marsmith.serving.torchserve import processes, readiness, run_folder
from marsmith.serving.torchserve.archives import find_archives
from marsmith.serving.torchserve.java import find_java
from marsmith.serving.torchserve.launch import launch
from marsmith.serving.torchserve.ports import DEFAULT_PORT, Ports, choose_ports
from marsmith.serving.torchserve.readiness import Progress
from marsmith.serving.torchserve.run_folder import ServerInfo
from marsmith.serving.torchserve.status import ModelStatus, ServerStatus
from marsmith.serving.torchserve.worker_log import LoadWatch

GRACE_S = 15.0
WARM_UP_TIMEOUT_S = 10.0
WATCH_S = 0.5


def _silent(_: str) -> None:
    return


def serve(
    archives: Sequence[Path | str] = (),
    *,
    model_store: Path = Path("model_store"),
    port: int = DEFAULT_PORT,
    timeout_s: float = 300.0,
    on_progress: Progress = _silent,
) -> ServerInfo:
    """Start TorchServe in the background; return when every model answers at full speed.

    Args:
        archives: paths of `.mar` files, or names of archives in the model store; when empty, all
            archives in the model store.
        model_store: the folder that names are looked up in.
        port: the inference API's; management and metrics take the two after it, gRPC the two
            after those (7070 and 7071 for the default port). 0 takes five free ones.
        timeout_s: how long TorchServe and the models may take to load.
        on_progress: takes a few words about each step.

    Returns:
        The server, for `wait`, `status`, `scale` and `stop`.

    Raises:
        ArchiveError: an archive is missing, or a file is not an archive.
        ServerError: no Java, a taken port, or a model that doesn't load. Nothing is left running
            then, and the logs are kept; the same holds for Ctrl-C and SIGTERM.
    """
    found = find_archives(archives, model_store)
    java_home = find_java()
    ports = choose_ports(port)
    deadline = time.monotonic() + timeout_s
    run_dir = run_folder.servers_folder() / str(ports.inference)
    with run_folder.locked(run_dir), _signals_raise():
        _refuse_taken(ports)
        run_folder.fill(run_dir, found, ports)
        temp_dir = run_folder.make_temp_dir()
        try:
            watch = LoadWatch(run_dir / "logs")
            on_progress(f"TorchServe starts on port {ports.inference}")
            info = launch(run_dir, temp_dir, java_home, ports, tuple(found))
            _make_ready(info, watch, deadline, on_progress)
            run_folder.write_info(info)
        except BaseException:
            processes.end(None, temp_dir, grace_s=0.0)
            run_folder.forget(run_dir)
            shutil.rmtree(temp_dir, ignore_errors=True)
            raise
    return info


def wait(info: ServerInfo, announce: Callable[[], None] = lambda: None) -> None:
    """Stay with a server until Ctrl-C or SIGTERM, then stop it.

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
            while _is_alive(info):
                time.sleep(WATCH_S)
    except (KeyboardInterrupt, SystemExit):
        return
    finally:
        stop(info)
    raise ServerError(
        f"the server on port {info.port} ended by itself", hint=f"see its logs in {info.logs}"
    )


def running(port: int | None = None) -> ServerInfo:
    """Find the running server.

    Whatever dead servers have left is removed.

    Args:
        port: its inference port; None if there is only one.

    Raises:
        ServerError: there is none, or there are several and `port` is None.
    """
    alive = _all_running()
    chosen = [info for info in alive if port in (None, info.port)]
    if len(chosen) == 1:
        return chosen[0]
    listing = "; ".join(f"port {info.port} ({', '.join(info.models)})" for info in alive)
    if chosen:
        raise ServerError(f"several servers run: {listing}", hint="choose one with --port")
    where = "" if port is None else f" on port {port}"
    raise ServerError(
        f"no server of marsmith runs{where}" + (f"; there is: {listing}" if alive else ""),
        hint="start one with `marsmith serve`",
    )


def status(info: ServerInfo) -> ServerStatus:
    """Return what a server does now: its addresses, models and workers."""
    with client(info) as api:
        models = tuple(ModelStatus.model_validate(api.model(name)) for name in api.models())
    return ServerStatus(
        inference_address=info.inference_address,
        management_address=info.management_address,
        metrics_address=info.metrics_address,
        key_file=info.key_file,
        models=models,
    )


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
    most = min_workers if max_workers is None else max_workers
    if not 1 <= min_workers <= most:
        # TorchServe loses track of the workers of a model that it scales to 0.
        message = f"{min_workers} to {most} workers: at least 1, and no more than the maximum"
        raise ServerError(message)
    deadline = time.monotonic() + timeout_s
    with client(info) as api:
        names = api.models()
        if model not in names:
            raise ServerError(f"there is no model {model!r}; there are: {', '.join(names)}")
        said = api.model(model)
        before = ModelStatus.model_validate(said)
        if most > 1 and said.get("continuousBatching"):
            raise ServerError(
                f"{model!r} serves continuously, and must have one worker: an idle one keeps the"
                " others waiting",
                hint="build it without serving.continuous_batching",
            )
        watch = LoadWatch(info.logs)
        check = readiness.start_check(watch, lambda: _is_alive(info), info.logs / "console.log")
        api.scale(model, min_workers, most)
        try:
            readiness.wait_for_workers(api, {model: min_workers}, check, deadline, on_progress)
        except ServerError:
            with suppress(MarsmithError):
                api.scale(model, before.min_workers, before.max_workers)
            raise


def stop(info: ServerInfo, grace_s: float = GRACE_S) -> None:
    """End a server and its workers, and remove what it leaves, except its logs.

    Raises:
        ServerError: a process survived being killed.
    """
    java = processes.find(info.pid, info.create_time)
    processes.end(java.pid if java else None, info.temp_dir, grace_s)
    shutil.rmtree(info.temp_dir, ignore_errors=True)
    # Another `serve` may have taken the folder over meanwhile, or be starting in it.
    with suppress(ServerError), run_folder.locked(info.run_dir):
        if info in run_folder.read_infos():
            run_folder.forget(info.run_dir)


def client(info: ServerInfo, timeout_s: float = 60.0) -> Client:
    """Make a client of a server, with its tokens."""
    return Client(info.inference_address, info.management_address, info.key_file, timeout_s)


def _make_ready(info: ServerInfo, watch: LoadWatch, deadline: float, on_progress: Progress) -> None:
    """Wait for the models, and warm them up."""
    check = readiness.start_check(watch, lambda: _is_alive(info), info.logs / "console.log")
    with readiness.connect(lambda: client(info, WARM_UP_TIMEOUT_S), check, deadline) as api:
        wanted = dict.fromkeys(info.models)
        readiness.wait_for_workers(api, wanted, check, deadline, on_progress)
        for model in info.models:
            readiness.warm_up(api, model, on_progress)
    check()


def _refuse_taken(ports: Ports) -> None:
    alive = _all_running()
    taken = ports.taken()
    if not taken:
        return
    for info in alive:
        if ours := sorted(set(taken) & set(info.ports.numbers())):
            raise ServerError(
                f"port {ours[0]} is taken by marsmith's own server on port {info.port}, which"
                f" serves {', '.join(info.models)}",
                hint=f"end it with `marsmith stop --port {info.port}`; or choose another --port",
            )
    raise ServerError(
        f"port {', '.join(map(str, taken))} is taken by another program; this server needs"
        f" {', '.join(map(str, ports.numbers()))}",
        hint="choose another with --port; --port 0 takes any that are free",
    )


def _all_running() -> list[ServerInfo]:
    """Return the live servers; end and remove what is left of dead ones."""
    alive = []
    for info in run_folder.read_infos():
        if _is_alive(info):
            alive.append(info)
        else:
            stop(info)
    return alive


def _is_alive(info: ServerInfo) -> bool:
    return processes.find(info.pid, info.create_time) is not None


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
