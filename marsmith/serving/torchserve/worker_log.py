"""Read in TorchServe's logs why a model does not load, and say it in a few lines.

TorchServe itself reports nothing: it restarts a worker that failed, again and again for five
minutes, and lets requests wait meanwhile.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from marsmith.errors import ServerError
from marsmith.harness.tracebacks import shorten_traceback, tells_of_failure

SETTLE_S = 0.3
SETTLE_AT_MOST_S = 2.0

# The layout of log4j2.xml: time [level] thread logger - message
LINE = re.compile(r"\d{4}-\d\d-\d\dT\S+ \[\w+\s*\] (?P<thread>\S+) \S+ - (?P<message>.*)")
# A worker, as its threads are named: W-<port>-<model>_<version>, with the stream that one reads.
WORKER = re.compile(r"(?P<worker>W-\d+-(?P<model>.+)_.*?)(?:-stdout|-stderr)?")

CRASHED = "the worker crashed or was killed; there was no Python error"
# No failure: on a machine so busy that Python takes two minutes to start, whatever an archive's
# startupTimeout says, TorchServe ends the worker and starts it again (WorkerLifeCycle.java).
STARTUP_TIMED_OUT = "Backend worker startup time out"
# Nor is what follows: the process that was ended closes its stream when the next one has begun, and
# TorchServe takes that for the next one's, ends it, and so on, until it waits longer in between.
STREAM_CLOSED = "Backend stream closed"
ECHOES = 3  # of one start that timed out; a worker that crashes does so again
# What a worker prints at every start; none of it is a cause.
ROUTINE = re.compile(
    r"s_name_part0=|Listening on|Successfully loaded .*metrics\.yaml|\[PID\]|Torch worker started"
    r"|Python runtime|Connection accepted|model_name: "
)
# What Java says in ts.log about an archive or a worker that it can't start. The first is all that
# it says of a worker that crashes, or is killed, while it loads.
JAVA_FAILURES = (
    "Load model failed: ",
    "Failed to load model: ",
    "Failed to parse model config file",
    "Backend worker error",
    "Backend worker thread exception.",
)


class Tail:
    """Reads the lines that are added to a log file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = file.stat().st_size if file.exists() else 0
        self._rest = b""

    def lines(self) -> list[str]:
        """Return the complete lines that were added since the last call."""
        if not self._file.exists():
            return []
        with self._file.open("rb") as log:
            if log.seek(0, 2) < self._offset:  # rolled over
                self._offset = 0
            log.seek(self._offset)
            added = log.read()
        self._offset += len(added)
        *complete, self._rest = (self._rest + added).split(b"\n")
        lines = (line.decode("utf-8", "replace").rstrip("\r") for line in complete)
        return [each for line in lines for each in plain(line)]


def plain(line: str) -> list[str]:
    """The lines that the layout for people would have of one that may be JSON."""
    try:
        said = json.loads(line) if line.startswith("{") else None
    except ValueError:  # somebody's own print
        return [line]
    if not isinstance(said, dict) or "message" not in said:
        return [line]
    thread = said.get("thread") or f"W-{said.get('pid')}-{said.get('model')}_{said.get('version')}"
    head = f"{said.get('time')} [{said.get('level')}] {thread} {said.get('logger')} - "
    first, *rest = f"{said['message']}\n{said.get('stack', '')}".splitlines() or [""]
    return [head + first, *rest]


class LoadWatch:
    """Watches the logs of a server, from now on, for the first load that fails.

    Args:
        logs: the folder of the logs.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._model, self._ts = Tail(logs / "model.log"), Tail(logs / "ts.log")
        self._printed: dict[str, list[str]] = defaultdict(list)
        self._java: list[str] = []

    def check(self) -> None:
        """Read on.

        Raises:
            ServerError: a model did not load; the message includes the worker's traceback.
        """
        self._read()
        if not self._failed():
            return
        # The traceback follows the line that reports the failure, in log lines of its own.
        deadline = time.monotonic() + SETTLE_AT_MOST_S
        time.sleep(SETTLE_S)
        while self._read() and time.monotonic() < deadline:
            time.sleep(SETTLE_S)
        if not self._failed():
            return
        message, source = self._explanation()
        raise ServerError(message, hint=f"see the rest in {self._logs / source}")

    def _read(self) -> bool:
        """Take in the new lines, by worker; return whether there were any."""
        worker, model_lines = "", self._model.lines()
        for line in model_lines:
            match = LINE.match(line)
            thread = WORKER.fullmatch(match["thread"]) if match else None
            worker = thread["worker"] if thread else worker
            message = match["message"] if match else line
            self._printed[worker].append(message)
        java_lines = self._ts.lines()
        self._java += java_lines
        return bool(model_lines or java_lines)

    def _failed(self) -> bool:
        return bool(self._worker_failure()[1] or self._java_failure()[1])

    def _worker_failure(self) -> tuple[str, list[str]]:
        """Return the first worker that reported a failure, and what it printed from there on."""
        for worker, lines in self._printed.items():
            for index, line in enumerate(lines):
                if tells_of_failure(line):
                    return worker, lines[index:]
        return "", []

    def _java_failure(self) -> tuple[str, list[str]]:
        """Return the worker that Java names, if any, and what Java said from a failure on."""
        echoes: dict[str, int] = defaultdict(int)
        for index, line in enumerate(self._java):
            match = LINE.match(line)
            if match and match["message"].startswith(JAVA_FAILURES):
                thread = WORKER.fullmatch(match["thread"])
                worker = thread["worker"] if thread else ""
                said = [match["message"], *self._java[index + 1 :]]
                why = "".join(said[1:2])
                if STARTUP_TIMED_OUT in why:
                    echoes[worker] += ECHOES
                elif STREAM_CLOSED in why and echoes[worker]:
                    echoes[worker] -= 1
                else:
                    return worker, said
        return "", []

    def _explanation(self) -> tuple[str, str]:
        """Return the message for the first failure, and the log that it comes from."""
        worker, lines = self._worker_failure()
        if lines:
            return _message(worker, lines), "model.log"
        worker, said = self._java_failure()
        if worker:
            printed = [line for line in self._printed[worker] if not ROUTINE.match(line)]
            return _message(worker, [CRASHED, *printed]), "model.log"
        # The line after a failure is the Java exception behind it.
        cause = said[1].partition(": ")[2] if len(said) > 1 and not LINE.match(said[1]) else ""
        return f"TorchServe: {said[0]}" + (f": {cause}" if cause else ""), "ts.log"


def _message(worker: str, lines: Sequence[str]) -> str:
    named = WORKER.fullmatch(worker)
    headline, trace = shorten_traceback(lines)
    first = f"model {(named['model'] if named else worker)!r} did not load: {headline}"
    return "\n".join([first, *(f"  {line}" for line in trace)])
