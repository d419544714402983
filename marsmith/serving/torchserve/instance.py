"""One TorchServe: its Java process and its workers, and what its own APIs say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import httpx
import psutil

from marsmith.client.clients import Client
from marsmith.errors import MarsmithError, RequestError, ServerError
from marsmith.serving.host import processes, run_folder
from marsmith.serving.host.plan import Plan
from marsmith.serving.torchserve import readiness
from marsmith.serving.torchserve.launch import launch
from marsmith.serving.torchserve.readiness import Progress
from marsmith.serving.torchserve.status import ModelStatus
from marsmith.serving.torchserve.worker_log import LoadWatch

ASK_S = 5.0
WARM_UP_TIMEOUT_S = 10.0
SOCKETS = ("inference", "management", "metrics")


@dataclass(frozen=True)
class Keys:
    """The keys that TorchServe has made for one run."""

    inference: str
    management: str


class TorchServe:
    """The TorchServe of one server.

    Args:
        plan: the server's.

    Attributes:
        scaled: the numbers of workers that models were given after it started, by name; another
            start of it gives them as many.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.scaled: dict[str, int] = {}
        self._began: dict[str, int] = {}
        self._folder, self._logs = plan.run_dir / "torchserve", plan.run_dir / "logs"
        self._java: psutil.Process | None = None
        self._client: Client | None = None
        self._off = False
        settings = plan.settings()
        self.addresses = {api: settings[f"{api}_address"] for api in SOCKETS}

    @property
    def alive(self) -> bool:
        """Whether its Java process runs."""
        return self._java is not None and processes.runs(self._java)

    def start(self, deadline: float, on_progress: Progress, connected: Callable[[], None]) -> None:
        """Start it, and wait until every model has its workers.

        Args:
            deadline: on the monotonic clock.
            on_progress: takes a line about each model.
            connected: called when it can be asked, before any model is ready: its keys are there.

        Raises:
            ServerError: it doesn't start, or a model doesn't load.
        """
        self.end()
        plan, watch, scaled = self._plan, LoadWatch(self._logs), dict(self.scaled)
        for name in SOCKETS:
            plan.socket(name).unlink(missing_ok=True)
        (self._folder / "key_file.json").unlink(missing_ok=True)
        shutil.rmtree(plan.temp_dir / run_folder.WORKERS, ignore_errors=True)  # it begins anew
        wanted = {model.name: self.scaled.get(model.name, model.workers) for model in plan.models}
        for name, number in wanted.items():
            if number is not None:
                run_folder.note_workers(plan.temp_dir, name, number)
        self._java = launch(self._folder, self._logs, plan)
        console = self._logs / "console.log"
        check = readiness.start_check(watch, lambda: self.alive and not self._off, console)
        client = readiness.connect(lambda: self.client(ASK_S), check, deadline)
        connected()
        self._client = client
        readiness.wait_for_workers(self._client, wanted, check, deadline, on_progress)
        # What was seen meanwhile is this start's own scaling.
        self._began, self.scaled = {}, scaled

    def call_off(self) -> None:
        """Let a start that is under way fail."""
        self._off = True

    def warm_up(self, on_progress: Progress) -> dict[str, float]:
        """Send every model's example until it is answered at a steady pace.

        Returns:
            Requests per second, one after another, of the models that have been warmed up.
        """
        paces: dict[str, float] = {}
        with self.client(WARM_UP_TIMEOUT_S) as client:
            for name in self._plan.names:
                warm = bool(paces)
                if pace := readiness.warm_up(client, name, on_progress, java_is_warm=warm):
                    paces[name] = pace
        return paces

    def keys(self) -> Keys:
        """The keys of this run.

        Raises:
            ServerError: they can't be read.
        """
        try:
            said = json.loads((self._folder / "key_file.json").read_text("utf-8"))
            return Keys(said["inference"]["key"], said["management"]["key"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ServerError(f"the keys of TorchServe can't be read: {error}") from error

    def client(self, timeout_s: float) -> Client:
        """Make a client of its own APIs."""
        key_file = self._folder / "key_file.json"
        return Client(
            self.addresses["inference"], self.addresses["management"], key_file, timeout_s,
            retries=0,
        )  # fmt: skip

    def models(self) -> dict[str, ModelStatus]:
        """What the management API says of each model; none of those that it doesn't tell of."""
        found: dict[str, ModelStatus] = {}
        client = self._client
        if client is None:
            return found
        for name in self._plan.names:
            try:
                found[name] = ModelStatus.model_validate(client.model(name))
            except RequestError:  # of this one alone
                continue
            except (MarsmithError, ValueError):
                break
            if found[name].min_workers != self._began.setdefault(name, found[name].min_workers):
                self._began[name] = self.scaled[name] = found[name].min_workers
        return found

    def describe(self, name: str) -> dict[str, object]:
        """What a model's handler says of itself; nothing, if it doesn't."""
        with suppress(MarsmithError, ValueError):
            if self._client and isinstance(
                said := self._client.describe(name).get("customizedMetadata"), dict
            ):
                return dict(said)
        return {}

    def metrics(self) -> bytes:
        """What it tells Prometheus; nothing, if it doesn't."""
        address = self.addresses["metrics"]
        path = address.removeprefix("unix:") if address.startswith("unix:") else None
        with (
            suppress(httpx.HTTPError),
            httpx.Client(transport=httpx.HTTPTransport(uds=path), timeout=ASK_S) as client,
        ):
            return client.get(f"{'http://torchserve' if path else address}/metrics").content
        return b""

    def end(self) -> None:
        """End it and its workers.

        Raises:
            ServerError: a process survived being killed.
        """
        if self._client is not None:
            self._client.close()
            self._client = None
        processes.end(self._plan.temp_dir, processes.torchserve)
        self._java = None
