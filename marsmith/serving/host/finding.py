"""Which servers live on this machine, and where their own user's clients ask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from marsmith.errors import ServerError
from marsmith.serving.host import processes, run_folder
from marsmith.serving.host.run_folder import ServerInfo

S = TypeVar("S", bound=ServerInfo)


def is_supervised(info: ServerInfo) -> bool:
    """Whether its supervisor lives."""
    return processes.find(info.pid, info.create_time) is not None


def is_alive(info: ServerInfo) -> bool:
    """Whether it serves: what has lost its supervisor still may."""
    return is_supervised(info) or bool(processes.family(info.temp_dir))


def running(port: int | None = None) -> ServerInfo:
    """Find the running server; see `only`."""
    return only([info for info in run_folder.read_infos() if is_alive(info)], port)


def only(alive: Sequence[S], port: int | None) -> S:
    """The one of some servers that is meant.

    Args:
        alive: those that run.
        port: its inference port; None if there is only one.

    Raises:
        ServerError: there is none, or there are several and `port` is None.
    """
    chosen = [info for info in alive if port in (None, info.port)]
    if len(chosen) == 1:
        return chosen[0]
    listing = "; ".join(f"port {info.port} ({', '.join(info.models)})" for info in alive)
    if chosen:
        raise ServerError(f"several servers run: {listing}", hint="choose one: --port, or port=")
    where = "" if port is None else f" on port {port}"
    raise ServerError(
        f"no server of marsmith runs{where}" + (f"; there is: {listing}" if alive else ""),
        hint="start one with `marsmith serve`",
    )


def addresses(info: ServerInfo) -> tuple[str, str | None, Path]:
    """Where a client on this machine asks: the inference and management address, and the keys."""
    # The front's own socket: it needs no TLS, and is there whatever address the server listens at.
    address = f"unix:{info.temp_dir / 'local'}" if info.front else info.inference_address
    # After a rollout another TorchServe serves.
    now = run_folder.read_info(info.run_dir) or info
    return address, now.management_address, info.key_file
