"""One build on several processes: started here, joined into a group, and told apart.

Under `torchrun`, which runs on many nodes, `group` joins what it started, and each process watches
that the others still live. On one process everything here does nothing.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from handlers.cpu import cores
from handlers.device import accelerator
from marsmith.errors import BuildError
from marsmith.training.watching import watched

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

MEETING = "MARSMITH_MEETING"  # the file through which the processes of `launch` find each other
PATIENCE = timedelta(days=2)  # others wait while one trains; one that dies is noticed
COMING = timedelta(minutes=10)  # how long nodes may differ in when they start
JOINING = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", MEETING)
GRACE_S = 5.0
LOST = re.compile("closed by peer|reset by peer|connection refused|broken pipe|timed out", re.I)
BEREFT = "another process of this build ended before its work was done"


def launch(nproc: int, arguments: Sequence[str], program: str = "marsmith.cli") -> int:
    """Run a command on several processes of this machine, which reach each other over loopback.

    The first process speaks for all. When one fails, the others are ended, and the stderr of the
    one that failed is shown.

    Args:
        nproc: how many, 1 or more; each takes its part of the cores, or one GPU.
        arguments: of the program.
        program: a module, run as `python -m`.

    Returns:
        The exit status: 0, or that of a process that failed.
    """
    with tempfile.TemporaryDirectory(prefix="marsmith-") as folder:
        started: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(nproc):
                command = [sys.executable, "-m", program, *arguments]
                started.append(_start(command, rank, nproc, Path(folder)))
            failed = _failures(started)
        finally:
            _end(started)
        for rank in sorted(failed.keys() - {0}):
            _show(rank, failed[rank], Path(folder) / f"stderr-{rank}")
    status = failed[max(failed)] if failed else 0
    return status if status >= 0 else 128 - status  # as a shell says that a signal ended it


def _start(command: list[str], rank: int, nproc: int, folder: Path) -> subprocess.Popen[bytes]:
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    environment = {
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(nproc),
        "LOCAL_WORLD_SIZE": str(nproc),
        MEETING: str(folder / "meeting"),
    }
    if rank == 0:
        return subprocess.Popen(command, env=environment)
    with (folder / f"stderr-{rank}").open("wb") as stderr:
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)


def _failures(started: list[subprocess.Popen[bytes]]) -> dict[int, int]:
    """Wait until all are done or some failed, and return the statuses of those."""
    while any(process.poll() is None for process in started):
        if any(process.poll() for process in started):
            time.sleep(1)  # the one that failed first may take longer to end than those it left
            break
        time.sleep(0.1)
    return {rank: status for rank, p in enumerate(started) if (status := p.poll())}


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    for process in started:
        process.terminate()
    until = time.monotonic() + GRACE_S
    for process in started:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()  # Python hears no SIGTERM while it waits in a collective operation
            process.wait()


def _show(rank: int, status: int, words: Path) -> None:
    """Repeat what a process wrote to stderr, unless it only tells of another's end."""
    said = words.read_text("utf-8", "replace").strip()
    if BEREFT not in said:
        how = f"was ended by signal {-status}" if status < 0 else "failed"
        sys.stderr.write(f"process {rank} {how}\n{said}\n")


@contextmanager
def group() -> Iterator[None]:
    """Join the other processes of this build, if `launch` or `torchrun` started this one.

    In the block they share the machine's cores; processes started after it are on their own again.

    Raises:
        BuildError: another process ended in the middle of the work.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield
        return
    place, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = _met(place, size)
    threads, beside = torch.get_num_threads(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    torch.set_num_threads(max(1, min(threads, cores() // beside)))
    try:
        # `launch` sees its processes end; a node that is lost tells nobody.
        with nullcontext() if MEETING in os.environ else watched(store, place, size):
            distributed.init_process_group(
                _backend(), store=store, rank=place, world_size=size, timeout=PATIENCE,
            )  # fmt: skip
            yield
            total(0)  # all are done: who leaves is no longer heard
    except RuntimeError as error:
        if not LOST.search(str(error)):
            raise
        raise BuildError(
            BEREFT,
            "see what that process wrote; the next run goes on from the last finished epoch",
        ) from error
    distributed.destroy_process_group()  # after an error, the end of this process does that
    torch.set_num_threads(threads)
    for name in JOINING:
        os.environ.pop(name, None)


def _backend() -> str:
    """What tensors travel by, on the CPU and on the accelerator that there is."""
    kind = accelerator()
    others = f",{kind}:{distributed.get_default_backend_for_device(kind)}" if kind else ""
    return f"cpu:gloo{others}"


def _met(place: int, size: int) -> Store:
    """The store through which the processes find each other, once all have come."""
    meeting = os.environ.get(MEETING)
    come = [f"come/{each}" for each in range(size)]
    try:
        where = f"file://{meeting}" if meeting else "env://"
        store: Store = next(rendezvous(where, place, size, timeout=COMING))[0]
        store.set(come[place], "")
        store.wait(come, COMING)
    except distributed.DistError as error:
        raise BuildError(
            f"the {size} processes of this build did not meet within {COMING.seconds // 60} min",
            "start one on every node, and see that all reach the first one's address and port",
        ) from error
    return store


def rank() -> int:
    """The number of this process; 0 is the one that speaks and writes."""
    return distributed.get_rank() if _grouped() else 0


def local_rank() -> int:
    """The number of this process among those of its machine."""
    return int(os.environ.get("LOCAL_RANK", 0)) if _grouped() else 0


def world_size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if _grouped() else 1


def barrier() -> None:
    """Wait until all processes are here."""
    if _grouped():
        distributed.barrier()


def furthest(done: int) -> int:
    """The rank of the process that has done most, of those the first.

    Args:
        done: how much this one has done, from -1 for nothing.
    """
    if not _grouped():
        return 0
    size = world_size()
    best = torch.tensor(done * size + size - 1 - rank())
    distributed.all_reduce(best, distributed.ReduceOp.MAX)
    return size - 1 - int(best) % size


def share(read: Callable[[], bytes | None], origin: int = 0) -> bytes | None:
    """Give all processes what one of them reads; only this one calls the function."""
    data = read() if rank() == origin else None
    if not _grouped():
        return data
    length = torch.tensor(-1 if data is None else len(data))
    distributed.broadcast(length, origin)
    if length <= 0:
        return None if length < 0 else b""
    body = torch.empty(int(length), dtype=torch.uint8)
    if data is not None:
        body = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    distributed.broadcast(body, origin)
    return body.numpy().tobytes()


def alike(value: bytes) -> bool:
    """Whether all processes have the same value."""
    return total(float(share(lambda: value) != value)) == 0


def copy(module: torch.nn.Module, origin: int = 0) -> None:
    """Give all processes one's parameters and buffers, whatever they have."""
    if not _grouped():
        return
    for tensor in (*module.parameters(), *module.buffers()):
        dense = tensor.detach().contiguous()
        distributed.broadcast(dense, origin)
        tensor.data.copy_(dense)


def total(value: float) -> float:
    """The sum of every process's value."""
    if not _grouped():
        return value
    values = torch.tensor(value, dtype=torch.float64)
    distributed.all_reduce(values)
    return float(values)


def _grouped() -> bool:
    return distributed.is_available() and distributed.is_initialized()
