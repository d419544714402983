"""A process that has imported torch once, and becomes a worker each time that one is started.

Importing torch is most of what a worker's start costs, and most of what it has in memory. This
process does it while Java starts; each worker is then a copy of it, whose pages are shared until
they are written to. It is run as a file, in the workers' environment but for PYTHONPATH, which each
has its own of, and imports nothing of ours: `forked_worker.py` is what TorchServe starts instead of
Python, and asks here.

Where an accelerator is, it ends at once: CUDA must not be used before a fork.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder's modules are nobody's here

import ctypes
import gc
import json
import os
import runpy
import select
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PREPARED = ("numpy", "PIL.Image", "yaml", "ts.model_service_worker")
BEGUN = b"+"
NAME, OF_WORKERS = "fork-server", "pt_main_thread"
"""What `ps` calls this process, and what torch calls one that has imported it."""


class Forked:
    """The workers that there are, each with the connection of who asked for it.

    Args:
        listener: where they are asked for.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._of: dict[int, tuple[int, socket.socket]] = {}
        """By the descriptor that tells of its end: its pid, and the connection."""
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)

    def serve(self) -> dict[str, Any]:
        """Fork workers, until this is one.

        Returns:
            What was asked for, in a new process.
        """
        while True:
            descriptor, _ = self._poll.poll()[0]  # one: the next may be of another by then
            if descriptor == self._listener.fileno():
                connection, _ = self._listener.accept()
                if asked := self._fork(connection):
                    return asked
            elif descriptor in self._of:
                self._ended(descriptor)
            else:
                self._given_up(descriptor)

    def _fork(self, connection: socket.socket) -> dict[str, Any] | None:
        """Take a request, and become a worker; None in the process that goes on."""
        files: list[int] = []
        try:
            asked = received(connection, files)
            parent, pid = os.getpid(), os.fork()
        except (OSError, ValueError):  # who asked was killed, or starts a Python of its own
            connection.close()
            for file in files:
                os.close(file)
            return None
        if pid:
            for file in files:
                os.close(file)
            ended = os.pidfd_open(pid)
            self._of[ended] = (pid, connection)
            self._poll.register(ended, select.POLLIN)
            self._poll.register(connection, select.POLLIN)
            with suppress(OSError):  # it was killed meanwhile, which is seen next
                connection.sendall(BEGUN)
            return None
        # A worker without this process would be ended by nobody, should it hang.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        for ended, (_, other) in self._of.items():
            os.close(ended)
            other.close()
        connection.close()
        self._listener.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        return asked

    def _ended(self, descriptor: int) -> None:
        """Say how a worker has ended, as `os.waitpid` does."""
        pid, connection = self._of.pop(descriptor)
        status = os.waitpid(pid, 0)[1]
        self._poll.unregister(descriptor)
        os.close(descriptor)
        with suppress(KeyError):  # it was given up
            self._poll.unregister(connection)
        with suppress(OSError):  # as above
            connection.sendall(b"%d\n" % status)
        connection.close()

    def _given_up(self, connection: int) -> None:
        """End the worker of who was killed."""
        self._poll.unregister(connection)
        for pid, each in self._of.values():
            if each.fileno() == connection:
                os.kill(pid, signal.SIGKILL)


def received(connection: socket.socket, files: list[int]) -> dict[str, Any]:
    """Receive what is asked for, and the files of who asks, which are added to `files`.

    Raises:
        ValueError: it isn't whole, or no request; or the worker has a module of its own, of a name
            that is imported here.
    """
    said, taken, *_ = socket.recv_fds(connection, 65_536, 3)
    files += taken
    while not said.endswith(b"\n"):
        more = connection.recv(65_536)
        if not more:
            raise ValueError("it isn't whole")
        said += more
    match json.loads(said):
        case {"environment": dict(environment), "arguments": [_, *_], "folder": str()} as asked:
            if len(files) != 3 or shadowed(environment.get("PYTHONPATH", "")):
                raise ValueError("a worker of its own is needed")
            return dict(asked)
    raise ValueError("nothing is asked for")


def shadowed(python_path: str) -> bool:
    """Whether a folder that only the worker searches has a module of a name that is imported."""
    imported = {name.partition(".")[0] for name in sys.modules}
    folders = [each for each in python_path.split(os.pathsep) if each and each not in sys.path]
    names = {path.name.partition(".")[0] for each in folders for path in listed(each)}
    return bool(imported & names)


def listed(folder: str) -> Iterable[Path]:
    """What is in a folder; nothing in what isn't one."""
    try:
        return list(Path(folder).iterdir())
    except OSError:
        return []


def rename(name: str) -> None:
    """Give this process a name."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="ascii")


def become(asked: dict[str, Any]) -> None:
    """Run what Python would be started with."""
    rename(OF_WORKERS)
    script, *_ = sys.argv = asked["arguments"]
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    host = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    first = [os.path.dirname(script), *(os.path.abspath(each) for each in host if each)]  # noqa: PTH100, PTH120
    sys.path[:] = dict.fromkeys([*first, *sys.path])
    if random := sys.modules.get("numpy.random"):
        random.seed()  # each worker its own
    runpy.run_path(script, run_name="__main__")


def main() -> None:
    """Import, and serve; `--listen` has the descriptor of a socket that listens."""
    listener = socket.socket(fileno=int(sys.argv[sys.argv.index("--listen") + 1]))
    import torch

    if torch.accelerator.is_available():
        return
    for name in PREPARED:
        __import__(name)
    rename(NAME)
    gc.collect()
    gc.freeze()  # scanning would write to the pages
    become(Forked(listener).serve())


if __name__ == "__main__":
    main()
