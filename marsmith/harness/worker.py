"""Run an archive in TorchServe's own worker, in a fresh interpreter and without Java.

The worker, its model loader, its service and its codec are TorchServe's. The harness plays the
frontend: it unpacks, starts, loads, asks and stops. What loads and answers here does so in a
server.

See: `ZipUtils.java`, `EnvironmentUtils.java`, `WorkerLifeCycle.java` and `WorkerThread.java` in
TorchServe's frontend.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from marsmith.archive.reading import Named
from marsmith.errors import ArchiveError
from marsmith.harness.environment import torchserve_home, worker_environment
from marsmith.harness.telemetry import Metric
from marsmith.harness.tracebacks import TRACEBACK_LINES, shorten_traceback, tells_of_failure
from marsmith.harness.unpacking import batch_size, read_config, read_manifest, unpack
from marsmith.harness.wire import (
    Frame,
    Request,
    Response,
    encode_load,
    encode_predict,
    read_response,
)


class Harness:
    """A context in which a worker has loaded an archive and answers requests.

    Args:
        archive: a `.mar`, or a folder with the contents of one; neither is changed. With
            "@sha256:DIGEST" behind a file's path, these bytes alone.
        batch_size: the most requests of a batch; None for what `model-config.yaml` says, else 1.
        gpu_id: the GPU that the worker is told to use; None for the first where the archive says
            `deviceType: gpu`, else for the CPU.
        python: the interpreter to run the worker with; its own TorchServe is used.
        env: variables to add to this process's; a PYTHONPATH here is the host's.
        timeout_s: how long each start, load and answer may take.

    Raises:
        ArchiveError: on entering: it is not an archive, or it does not load. The message begins
            with the exception that the worker died of; the whole output stays in `log`.
        ServerError: on entering: `python` has no TorchServe.
    """

    def __init__(
        self,
        archive: str | os.PathLike[str],
        *,
        batch_size: int | None = None,
        gpu_id: int | None = None,
        python: str | os.PathLike[str] = sys.executable,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 120.0,
    ) -> None:
        self._named = Named.of(os.fspath(archive))
        self.archive, self.gpu_id, self.python = self._named.path, gpu_id, os.fspath(python)
        self.batch_size = batch_size or 0
        self.timeout_s = timeout_s
        self._env = env or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._last_log: list[str] = []
        self._mark = 0

    def __enter__(self) -> Harness:
        with ExitStack() as stack:
            # A socket's path has at most 104 bytes on some systems.
            place = None if len(tempfile.gettempdir()) <= 70 else "/tmp"  # noqa: S108
            folder = tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True)
            root = Path(stack.enter_context(folder)).resolve()
            unpack(self._named, root / "model")
            model = read_manifest(self.archive, root / "model")
            served = read_config(root / "model", model)
            self.batch_size = self.batch_size or batch_size(served)
            if self.gpu_id is None and served.get("deviceType") == "gpu":
                self.gpu_id = 0
            self._continuous = served.get("continuousBatching") is True
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._sock = stack.enter_context(connection)
            # A file, because a worker that writes to a pipe waits for a reader; to its end, because
            # `take_log` cuts it.
            self._output = stack.enter_context((root / "worker.log").open("a+b"))
            stack.callback(self._stop)
            self._start(root, model["handler"])
            self._load(root / "model", model)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            self._stop(grace_s=5.0 if kind is None else 0.0)

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._running().pid

    @property
    def log(self) -> list[str]:
        """The lines of the worker's output so far, including those of its last answer."""
        return self._log_from(0) if self._process else self._last_log

    def take_log(self) -> list[str]:
        """Take the lines of the log, which is empty then: a worker of days would fill the disk.

        Nothing is taken while the worker writes.
        """
        if self._process is None:
            return []
        file = self._output.fileno()
        data = os.pread(file, os.fstat(file).st_size, 0)
        if len(data) < os.fstat(file).st_size:
            return []
        os.ftruncate(file, 0)
        self._mark = 0
        return data.decode(errors="replace").splitlines()

    def metrics(self) -> list[Metric]:
        """The metrics in the log so far, in order."""
        return [metric for line in self.log if (metric := Metric.parse(line))]

    def predict(self, requests: Sequence[Request]) -> list[Response]:
        """Send one batch and return one response per request, with a stream's parts joined.

        Raises:
            ValueError: there are no requests, more than `batch_size`, or two with one id.
            ArchiveError: the worker died, gave no answer in time, or gave one that TorchServe
                can't read. The harness has ended then.
        """
        if not 1 <= len(requests) <= self.batch_size:
            raise ValueError(f"{len(requests)} requests; a batch has 1 to {self.batch_size}")
        if len({request.request_id for request in requests}) < len(requests):
            raise ValueError("two requests of a batch have the same request_id")
        parts: dict[str, list[Response]] = {request.request_id: [] for request in requests}
        for said in self.stream(requests):
            for request_id, response in said.items():
                parts[request_id].append(response)
        whole = (parts[request.request_id] for request in requests)
        return [replace(part[0], body=b"".join(each.body for each in part)) for part in whole]

    def stream(self, requests: Sequence[Request]) -> Iterator[dict[str, Response]]:
        """Send one batch and yield what the worker answers, message by message, by request id.

        If the archive serves continuously, requests are sent again until they are answered, as the
        frontend does.

        Raises:
            ArchiveError: as in `predict`.
        """
        waiting = {request.request_id: request for request in requests}
        while waiting:
            for said in self.ask(list(waiting.values())):
                for request_id, response in said.items():
                    request = waiting.pop(request_id)
                    if response.more_follows:
                        waiting[request_id] = request.again()
                yield said

    def ask(self, requests: Sequence[Request]) -> Iterator[dict[str, Response]]:
        """Send one command and yield what the worker answers; see `stream`.

        A worker that serves continuously sends one message, perhaps not to all requests.

        Raises:
            ArchiveError: as in `predict`.
        """
        waiting = {request.request_id: request for request in requests}
        for frame in self._frames(encode_predict(requests), "the worker did not answer"):
            some = frame.code == HTTPStatus.OK and (self._continuous or frame.more_follows)
            answered = [name for name in waiting if name in frame.responses or not some]
            try:
                responses = frame.answers([waiting[name] for name in answered])
            except ArchiveError:
                self._stop(grace_s=0.0)
                raise
            said = dict(zip(answered, responses, strict=True))
            for name in answered:
                if not said[name].more_follows:
                    del waiting[name]
            yield said

    def describe(self) -> dict[str, Any]:
        """What the handler says about its model when it is asked to describe it.

        Raises:
            ArchiveError: it answered with something other than a JSON object, or as in `predict`.
        """
        (response,) = self.predict([Request.describe()])
        with suppress(ValueError):
            answer = response.json()
            if response.status == 200 and isinstance(answer, dict):
                return answer
        raise ArchiveError(
            f"the handler answered describe with status {response.status} and "
            f"{response.body[:200]!r}; TorchServe wants a JSON object"
        )

    def _start(self, root: Path, handler: str) -> None:
        home = torchserve_home(self.python, {**os.environ, **self._env}, root)
        path = str(root / ".ts.sock.9000")
        command = [self.python, str(home / "ts/model_service_worker.py"), "--sock-type", "unix"]
        command += ["--sock-name", path, "--metrics-config", str(home / "ts/configs/metrics.yaml")]
        self._mark, self._last_log = 0, []
        self._process = subprocess.Popen(
            command,
            cwd=root / "model",
            env=worker_environment(self._env, home, root / "model", handler),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline and self._process.poll() is None:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                return self._sock.connect(path)
            time.sleep(0.02)
        raise self._failure("the worker did not start")

    def _load(self, model_dir: Path, model: Mapping[str, str]) -> None:
        names = model["modelName"], str(model_dir), model["handler"]
        envelope = model.get("envelope") or ""
        command = encode_load(*names, self.batch_size, self.gpu_id, envelope)
        what = f"{self.archive.name} does not load"
        (reply,) = self._exchange(command, what)
        if reply.code != 200:
            raise self._failure(what)

    def _exchange(self, command: bytes, trouble: str) -> list[Frame]:
        return list(self._frames(command, trouble))

    def _frames(self, command: bytes, trouble: str) -> Iterator[Frame]:
        self._running()
        self._mark = os.fstat(self._output.fileno()).st_size
        try:
            self._sock.settimeout(self.timeout_s)
            self._sock.sendall(command)
            more = True
            while more:
                frame = self._receive()
                more = frame.more_follows and not self._continuous
                yield frame
        except TimeoutError:
            self._stop(grace_s=0.0)
            late = f"{trouble} within {self.timeout_s:g} s"
            raise ArchiveError("\n".join((late, *self.log[-TRACEBACK_LINES:]))) from None
        except (EOFError, ConnectionError):
            raise self._failure(trouble) from None
        except ArchiveError:
            self._stop(grace_s=0.0)
            raise

    def _receive(self) -> Frame:
        deadline = time.monotonic() + self.timeout_s
        while time.monotonic() < deadline:
            # A child that the worker forked may hold the connection open after its death.
            dead = self._running().poll() is not None
            with suppress(TimeoutError):
                return read_response(self._sock, timeout_s=0.5)
            if dead:
                raise EOFError
        raise TimeoutError

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ArchiveError("the worker is not running; it has ended, or was not started")
        return self._process

    def _failure(self, trouble: str) -> ArchiveError:
        status = self._stop()
        cause, excerpt = _diagnose(self._log_from(self._mark))
        ended = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        return ArchiveError(
            "\n".join((f"{trouble}: {cause or f'it ended with {ended}'}", *excerpt))
        )

    def _stop(self, grace_s: float = 5.0) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        try:
            self._sock.close()  # A worker ends when its frontend hangs up.
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._last_log = self._log_from(0)
        return process.returncode

    def _log_from(self, offset: int) -> list[str]:
        size = os.fstat(self._output.fileno()).st_size
        text = os.pread(self._output.fileno(), size - offset, offset).decode(errors="replace")
        return text.removesuffix("\n").split("\n") if text else []


def _diagnose(log: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the exception that ended a worker, or "", and the lines that lead to it."""
    told = next((index for index, line in enumerate(log) if tells_of_failure(line)), None)
    if told is None:
        return "", log[-TRACEBACK_LINES:]
    return shorten_traceback(log[told:])
