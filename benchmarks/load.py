"""A load of several connections, each with one request after another."""

from __future__ import annotations

import http.client
import itertools
import json
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from marsmith.serving.host.run_folder import ServerInfo

TIMEOUT_S = 60


@dataclass
class Load:
    """What came of a load.

    Attributes:
        seconds: how long it took.
        latencies_ms: of every answer.
    """

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return len(self.latencies_ms) / self.seconds

    def percentile_ms(self, share: float) -> float:
        """The latency that this share of the answers, in (0, 1), stayed below."""
        return statistics.quantiles(self.latencies_ms, n=1000)[round(share * 1000) - 1]


def put(
    port: int,
    model: str,
    bodies: Sequence[bytes],
    headers: Mapping[str, str],
    *,
    connections: int = 16,
    seconds: float = 10.0,
    most: int | None = None,
) -> Load:
    """Ask a model on this machine, over and over.

    Args:
        port: of its inference API.
        model: the name.
        bodies: sent in turn.
        headers: of every request.
        connections: kept open, each waiting for its answer before it asks again.
        seconds: after which none asks again.
        most: requests in all; by default as many as fit.

    Raises:
        SystemExit: an answer was no 200.
    """
    numbers = itertools.count()
    failed: list[str] = []
    taken: list[list[float]] = [[] for _ in range(connections)]
    until = time.perf_counter() + seconds

    def ask(latencies: list[float]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        try:
            while not failed and time.perf_counter() < until:
                number = next(numbers)
                if most is not None and number >= most:
                    return
                began = time.perf_counter()
                body = bodies[number % len(bodies)]
                connection.request("POST", f"/predictions/{model}", body, dict(headers))
                response = connection.getresponse()
                answer = response.read()
                latencies.append((time.perf_counter() - began) * 1000)
                if response.status != 200:
                    failed.append(f"{model} answered {response.status}: {answer[:200]!r}")
        except Exception as error:
            failed.append(f"{model}: {type(error).__name__}: {error}")
        finally:
            connection.close()

    began = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(each,)) for each in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise SystemExit(failed[0])
    return Load(time.perf_counter() - began, [each for mine in taken for each in mine])


def authorization(info: ServerInfo) -> dict[str, str]:
    """The header that a server's inference API wants."""
    key = json.loads(info.key_file.read_text())["inference"]["key"]
    return {"Authorization": f"Bearer {key}"}
