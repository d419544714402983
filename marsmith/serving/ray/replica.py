"""One replica of a model: an archive in TorchServe's own worker, asked in batches."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import replace
from pathlib import Path

from marsmith.archive.reading import Named
from marsmith.errors import MarsmithError
from marsmith.harness.wire import Request, Response
from marsmith.harness.worker import Harness
from marsmith.serving.host import intake
from marsmith.serving.ray.batches import BatchQueue
from marsmith.serving.ray.gauges import Gauges
from marsmith.serving.ray.served import Served

logger = logging.getLogger("ray.serve")
WORKERS = "MARSMITH_WORKERS"
"""Names the folder in which a worker reads with how many others it shares the machine."""
STARTS = 3
"""How often in a row a worker of a model that has loaded here may fail to load."""


class ModelReplica:
    """Answers requests of one model; its process and its worker's are on one node.

    Args:
        served: the model.
        trust: public keys, or folders of them, one of which must have signed the archive.

    Raises:
        MarsmithError: the archive is not sound, not signed, or does not load.
    """

    def __init__(self, served: Served, trust: tuple[Path, ...]) -> None:
        from ray import get_runtime_context

        self._served, self._trust = served, trust
        given = get_runtime_context().get_assigned_resources()
        self._cores, self._gpu = max(1, int(given.get("CPU", 1))), given.get("GPU", 0) > 0
        self._batches = BatchQueue(served.batch_size, served.delay_s, continuous=served.continuous)
        self._gauges = Gauges(served.name)
        self._failed: Exception | None = None
        self._up = False
        self._loaded = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=served.name)
        self._thread.start()
        self._loaded.wait()
        self.check_health()

    async def ask(self, request: Request, seconds: float | None = None) -> Response:
        """Answer a request; what comes in parts is joined.

        Args:
            request: what the worker is sent.
            seconds: how long the answer, or each part of it, may take; None for ever.

        Raises:
            WorkerDiedError: the worker ended first, and is started anew.
            asyncio.TimeoutError: it has taken longer.
        """
        async with aclosing(self._batches.ask(request, seconds)) as said:
            parts = [part async for part in said]
        return (
            parts[0]
            if len(parts) == 1
            else replace(parts[0], body=b"".join(part.body for part in parts))
        )

    async def stream(
        self, request: Request, seconds: float | None = None
    ) -> AsyncGenerator[Response, None]:
        """Answer a request in the parts that come; arguments and errors are those of `ask`."""
        async with aclosing(self._batches.ask(request, seconds)) as parts:
            async for response in parts:
                yield response

    def check_health(self) -> None:
        """Tell Ray that this replica must be replaced, when it must.

        Raises:
            Exception: its worker can't be started.
        """
        if self._failed:
            raise self._failed

    @property
    def waiting(self) -> int:
        """How many requests wait for the worker."""
        return self._batches.waiting

    @property
    def up(self) -> bool:
        """Whether the worker has loaded and not died."""
        return self._up

    def close(self) -> None:
        """End the worker, when nothing is on its way any more."""
        self._batches.close()
        self._thread.join(self._served.response_s)

    def __del__(self) -> None:
        """End the worker; Ray calls this when nothing is on its way any more."""
        self.close()

    def _run(self) -> None:
        try:
            self._keep_serving()
        except Exception as error:  # a full disk, say: who waits is told, and Ray replaces this
            self._failed = error
        finally:
            self._batches.fail()
            self._loaded.set()

    def _keep_serving(self) -> None:
        """Serve with one worker after another, until this is closed.

        Raises:
            MarsmithError: the first one didn't load, or so many in a row.
        """
        failed = 0
        while True:
            try:
                with self._worker() as harness:
                    failed, self._up = 0, True
                    self._loaded.set()
                    self._batches.serve(harness, lambda: self._gauges.count(harness.take_log()))
                    return
            except MarsmithError as error:
                failed += not self._up
                if failed == STARTS or not self._loaded.is_set():
                    raise
                logger.error("%s: %s; it is started anew", self._served.name, error)
            finally:
                self._up = False

    @contextmanager
    def _worker(self) -> Iterator[Harness]:
        """Take the archive in as a server does, and start a worker of it."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marsmith-")))
            named = {self._served.name: Named.of(self._served.archive)}
            with intake.taken(named, folder, self._trust, logger.info) as copies:
                harness = stack.enter_context(
                    Harness(
                        copies[self._served.name],
                        gpu_id=0 if self._gpu else None,
                        env=self._shared(folder),
                        timeout_s=self._served.startup_s,
                    )
                )
            harness.timeout_s = self._served.response_s
            yield harness

    def _shared(self, folder: Path) -> dict[str, str]:
        """The environment by which a worker takes no more cores than Ray has given it."""
        workers = folder / "workers"
        workers.mkdir()
        here = len(os.sched_getaffinity(0))
        (workers / self._served.name).write_text(str(max(1, here // self._cores)), "ascii")
        return {WORKERS: str(workers)}
