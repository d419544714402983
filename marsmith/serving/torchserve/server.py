"""TorchServe, started so that it serves or says why not, and stopped so that nothing is left."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from marsmith.client.clients import Client
from marsmith.errors import MarsmithError, ServerError
from marsmith.serving.torchserve import processes, readiness, run_folder
from marsmith.serving.torchserve.archives import find_archives
from marsmith.serving.torchserve.java import find_java
from marsmith.serving.torchserve.launch import launch
from marsmith.serving.torchserve.ports import DEFAULT_PORT, Ports, choose_ports
from marsmith.serving.torchserve.readiness import Progress
from marsmith.serving.torchserve.run_folder import ServerInfo
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
    """Start TorchServe in the background; return when every model answers, at its full speed.

    Args:
        archives: paths of `.mar` files, or names of archives in the model store; none for all
            of the model store.
        model_store: the folder that names are looked up in.
        port: of the inference API; management and metrics take the two after it, gRPC the two
            after those (7070 and 7071 for the default port). 0 takes five that are free.
        timeout_s: how long TorchServe and the models may take to load.
        on_progress: told, in a few words, of each step.

    Returns:
        The server, for `wait`, `status`, `scale` and `stop`.

    Raises:
        ArchiveError: an archive is missing or is none.
        ServerError: no Java, a taken port, or a model that doesn't load. Nothing is left running
            then; the logs are kept. The same holds for Ctrl-C and SIGTERM.
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
        announce: called first; what it does is covered already: a Ctrl-C in the midst of telling
            the user about the server stops the server as well.

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
        f"The server on port {info.port} ended by itself.", hint=f"Its logs are in {info.logs}."
    )


def running(port: int | None = None) -> ServerInfo:
    """Find the server that runs.

    What servers that have died left behind is cleaned up on the way.

    Args:
        port: its inference port; None if there is only one.

    Raises:
        ServerError: there is none, or several and no port to choose by.
    """
    alive = _all_running()
    chosen = [info for info in alive if port in (None, info.port)]
    if len(chosen) == 1:
        return chosen[0]
    listing = "; ".join(f"port {info.port} ({', '.join(info.models)})" for info in alive)
    if chosen:
        raise ServerError(f"Several servers run: {listing}.", hint="Choose one with --port.")
    where = "" if port is None else f" on port {port}"
    raise ServerError(
        f"No server of marsmith runs{where}." + (f" There is: {listing}." if alive else ""),
        hint="`marsmith serve` starts one.",
    )


def status(info: ServerInfo) -> dict[str, Any]:
    """Return what a server does now: its addresses, models and workers, ready for JSON."""
    with client(info) as api:
        models = [_summary(api.model(name)) for name in api.models()]
    return {
        "inference_address": info.inference_address,
        "management_address": info.management_address,
        "metrics_address": info.metrics_address,
        "key_file": str(info.key_file),
        "models": models,
    }


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
        max_workers: how many it may keep; as many as `min_workers` if None.
        timeout_s: how long the new workers may take to load.
        on_progress: told when they are ready.

    Raises:
        ServerError: no such model or number, or a worker did not load; it is scaled back then.
    """
    most = min_workers if max_workers is None else max_workers
    if not 1 <= min_workers <= most:
        # TorchServe loses track of the workers of a model that it scales to 0.
        message = f"{min_workers} to {most} workers: at least 1, and no more than the maximum."
        raise ServerError(message)
    deadline = time.monotonic() + timeout_s
    with client(info) as api:
        names = api.models()
        if model not in names:
            raise ServerError(f"There is no model {model!r}. There are: {', '.join(names)}.")
        before = api.model(model)
        if most > 1 and before.get("continuousBatching"):
            raise ServerError(
                f"{model!r} serves continuously, and must have one worker: an idle one keeps the"
                " others waiting.",
                hint="Build it without serving.continuous_batching.",
            )
        watch = LoadWatch(info.logs)
        check = readiness.start_check(watch, lambda: _is_alive(info), info.logs / "console.log")
        api.scale(model, min_workers, most)
        try:
            readiness.wait_for_workers(api, {model: min_workers}, check, deadline, on_progress)
        except ServerError:
            with suppress(MarsmithError):
                api.scale(model, before["minWorkers"], before["maxWorkers"])
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
                f"Port {ours[0]} is taken by marsmith's own server on port {info.port}, which"
                f" serves {', '.join(info.models)}.",
                hint=f"`marsmith stop --port {info.port}` ends it; --port chooses another.",
            )
    raise ServerError(
        f"Port {', '.join(map(str, taken))} is taken by another program; this server needs"
        f" {', '.join(map(str, ports.numbers()))}.",
        hint="--port chooses another; --port 0 takes any that are free.",
    )


def _all_running() -> list[ServerInfo]:
    """Return the servers that live; end and remove what is left of those that don't."""
    alive = []
    for info in run_folder.read_infos():
        if _is_alive(info):
            alive.append(info)
        else:
            stop(info)
    return alive


def _is_alive(info: ServerInfo) -> bool:
    return processes.find(info.pid, info.create_time) is not None


def _summary(model: dict[str, Any]) -> dict[str, Any]:
    workers = model.get("workers", [])
    return {
        "name": model["modelName"],
        "version": model["modelVersion"],
        "min_workers": model["minWorkers"],
        "max_workers": model["maxWorkers"],
        "batch_size": model["batchSize"],
        "workers": [{key: worker[key] for key in ("id", "pid", "status")} for worker in workers],
    }


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
