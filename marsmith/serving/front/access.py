"""The access log: HAProxy writes a line of JSON per request; here they are kept and counted."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections import Counter as Counts
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from marsmith.serving.front.tally import Tally

MAX_BYTES, BACKUPS = 50_000_000, 3
PIPE_BYTES = 1 << 20
PAUSE_S = 0.05
CLOSE_S = 5.0
ASKED = ("predict", "explain")
NOTHING = "-"
LATEST = 100_000
ENDED = "--"
"""How HAProxy says that nobody broke off."""
HEALTH = ("model_ready", "v1_ready", "metadata")


class Answered(NamedTuple):
    """One answer.

    Attributes:
        model: the model's name.
        side: which TorchServe gave it.
        status: of HTTP; a number below 100 where the client hung up.
        seconds: in all.
        at: when it was read, on the monotonic clock.
    """

    model: str
    side: str
    status: int
    seconds: float
    at: float


class AccessLog:
    """Reads what HAProxy prints, writes it to a file, and counts.

    Args:
        file: the log; it is rotated at 50 MB, three times.
        registry: takes the metrics.
    """

    def __init__(self, file: Path, registry: CollectorRegistry) -> None:
        self._file, self._lock = file, threading.Lock()
        self._readers: list[threading.Thread] = []
        self._tally = Tally()
        registry.register(self._tally)
        self._completed: Counts[str] = Counts()
        self._answers: deque[Answered] | None = None
        self.versions: dict[tuple[str, str], str] = {}
        """The versions of models, by model and side, where they differ."""

    def follow(self) -> int:
        """Begin to read.

        Returns:
            The file descriptor that HAProxy is to write to; its reader ends when no one has it.
        """
        ours, theirs = os.pipe()
        with suppress(OSError, AttributeError):  # the system's limit is lower; it isn't Linux
            fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        reader = threading.Thread(target=self._read, args=(ours,), daemon=True, name="access log")
        reader.start()
        self._readers.append(reader)
        return theirs

    def close(self) -> None:
        """Wait until all that was printed is written; whoever printed it has ended."""
        for reader in self._readers:
            reader.join(CLOSE_S)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep each answer for `answered`, the latest 100,000 of them, until the block ends."""
        self._answers = deque(maxlen=LATEST)
        try:
            yield
        finally:
            self._answers = None

    def answered(self, model: str, since: float) -> dict[str, list[Answered]]:
        """The recorded answers of a model by side, since a time on the monotonic clock."""
        found: dict[str, list[Answered]] = {}
        for each in reversed((self._answers or deque()).copy()):
            if each.at < since:
                break
            if each.model == model:
                found.setdefault(each.side, []).append(each)
        return found

    def completed(self) -> Counts[str]:
        """How many requests of each model were answered by TorchServe so far."""
        return Counts(self._completed)

    def _read(self, descriptor: int) -> None:
        rest = b""
        with os.fdopen(descriptor, "rb", buffering=0) as pipe:
            while chunk := pipe.read(PIPE_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._count(line)
                with suppress(OSError):  # of a full disk: what is read is lost, what comes is not
                    self._write(b"".join(line + b"\n" for line in lines))
                time.sleep(PAUSE_S)  # many lines at once cost less than each as it comes

    def _write(self, text: bytes) -> None:
        with self._lock:
            if self._file.exists() and self._file.stat().st_size + len(text) > MAX_BYTES:
                for number in range(BACKUPS, 0, -1):
                    older = self._file.with_name(f"{self._file.name}.{number}")
                    newer = self._file.with_name(f"{self._file.name}.{number - 1}")
                    newer = newer if number > 1 else self._file
                    if newer.exists():
                        newer.replace(older)
            with self._file.open("ab") as file:
                file.write(text)

    def _count(self, line: bytes) -> None:
        try:
            self._count_request(json.loads(line))
        except (ValueError, KeyError, TypeError):  # HAProxy's own words, as it starts and stops
            return

    def _count_request(self, said: Mapping[str, Any]) -> None:
        model, route, refused = said["model"], said["route"], said["refused"]
        version = self.versions.get((model, said["side"]), said["version"])
        there = said["version"] != NOTHING
        if route == NOTHING:  # no request of HTTP
            self._tally.refusals["", "http"] += 1
        elif refused != NOTHING:
            # What was asked for need not be there: anybody could make new names.
            self._tally.refusals[model if there else "", refused] += 1
        elif route in ASKED and there:
            if said["end"] == ENDED and said["status"] < 500:
                self._completed[model] += 1
            seconds = int(said["microseconds"]) / 1e6
            answers = self._answers  # another thread may end the recording
            if answers is not None:
                now = time.monotonic()
                answers.append(Answered(model, said["side"], said["status"], seconds, now))
            self._tally.seconds[model, version, route].add(seconds)
            self._tally.waited[model,].add(max(0, said["waited_ms"]) / 1e3)
        if there and route not in HEALTH:
            self._tally.requests[model, version, str(said["status"])] += 1
