"""The access log: HAProxy writes a line of JSON per request; here they are kept and counted."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections import Counter as Counts
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram

MAX_BYTES, BACKUPS = 50_000_000, 3
PIPE_BYTES = 1 << 20
PAUSE_S = 0.05
CLOSE_S = 5.0
# A request of a small model takes a millisecond, one that writes a text a minute.
BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5,
    0.75, 1, 2, 3, 5, 10, 30, 60, 120,
)  # fmt: skip
ASKED = ("predict", "explain")
NOTHING = "-"


class AccessLog:
    """Reads what HAProxy prints, writes it to a file, and counts.

    Args:
        file: the log; it is rotated at 50 MB, three times.
        registry: takes the metrics.
    """

    def __init__(self, file: Path, registry: CollectorRegistry) -> None:
        self._file, self._lock = file, threading.Lock()
        self._readers: list[threading.Thread] = []
        self._requests = Counter(
            "marsmith_requests",
            "Requests by their answer's status.",
            ["model", "version", "status"],
            registry=registry,
        )
        self._refusals = Counter(
            "marsmith_refusals", "Requests that the front refused, by reason.", ["model", "reason"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "marsmith_request_duration_seconds",
            "From a request's first byte to its answer's last.",
            ["model", "version", "route"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._waited = Histogram(
            "marsmith_queue_duration_seconds",
            "What a request waited in the front.",
            ["model"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._completed: Counts[str] = Counts()

    def follow(self) -> int:
        """Begin to read.

        Returns:
            The file descriptor that HAProxy is to write to; its reader ends when no one has it.
        """
        ours, theirs = os.pipe()
        with suppress(OSError):  # where the system's limit is lower
            fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        reader = threading.Thread(target=self._read, args=(ours,), daemon=True, name="access log")
        reader.start()
        self._readers.append(reader)
        return theirs

    def close(self) -> None:
        """Wait until all that was printed is written; whoever printed it has ended."""
        for reader in self._readers:
            reader.join(CLOSE_S)

    def completed(self) -> Counts[str]:
        """How many requests of each model were answered by TorchServe so far."""
        return Counts(self._completed)

    def _read(self, descriptor: int) -> None:
        rest = b""
        with os.fdopen(descriptor, "rb", buffering=0) as pipe:
            while chunk := pipe.read(PIPE_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                self._write(b"".join(line + b"\n" for line in lines))
                for line in lines:
                    self._count(line)
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
            said = json.loads(line)
        except ValueError:  # HAProxy's own words, as it starts and stops
            return
        model, route, refused = said["model"], said["route"], said["refused"]
        if route == NOTHING:  # no request of HTTP
            self._refusals.labels("", "http").inc()
        elif refused != NOTHING:
            # What was asked for need not be there: anybody could make new names.
            self._refusals.labels(model if said["version"] != NOTHING else "", refused).inc()
        elif route in ASKED and said["version"] != NOTHING:
            self._completed[model] += 1
            self._seconds.labels(model, said["version"], route).observe(
                int(said["microseconds"]) / 1e6
            )
            self._waited.labels(model).observe(max(0, said["waited_ms"]) / 1e3)
        if said["version"] != NOTHING:
            self._requests.labels(model, said["version"], said["status"]).inc()
