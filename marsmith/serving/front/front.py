"""One HAProxy before one TorchServe: started, told what is true, asked to drain."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from marsmith.atomic import replacing
from marsmith.errors import MarsmithError, ServerError
from marsmith.serving.front import configuration
from marsmith.serving.front.access import AccessLog
from marsmith.serving.front.keys import Key
from marsmith.serving.front.runtime import Runtime, write_map
from marsmith.serving.host.plan import Front, Plan
from marsmith.serving.host.processes import PID_FILE
from marsmith.serving.torchserve.readiness import last_lines

START_S = 20.0
POLL_S = 0.02
CORES_PER_THREAD = 8


@dataclass(frozen=True)
class Load:
    """What is on its way to one model.

    Attributes:
        waiting: requests that wait in the front.
        requests: requests on their way, waiting or not.
    """

    waiting: int
    requests: int


class HAProxy:
    """The front of one server.

    Args:
        plan: the server's.
        front: the plan's.
        log: reads what is printed.
    """

    def __init__(self, plan: Plan, front: Front, log: AccessLog) -> None:
        self._plan, self._front, self._log = plan, front, log
        self._folder = plan.run_dir / "front"
        self._runtime = Runtime(plan.socket("front"))
        self._process: subprocess.Popen[bytes] | None = None
        self._maps: dict[str, dict[str, str]] = {}
        self._certificate = ""
        self._told: dict[tuple[str, str, str], object] = {}
        # A rollout tells it things in another thread than the one that starts it anew.
        self._telling = threading.RLock()

    def configure(self, metadata: Mapping[str, str]) -> None:
        """Write and check what it starts from.

        Args:
            metadata: of the Open Inference Protocol, in JSON, by model.

        Raises:
            ServerError: HAProxy refuses it, or a certificate can't be read.
        """
        if self._front.tls_cert:
            self._certificate = configuration.read_certificate(self._front)
            file = self._folder / configuration.CERTIFICATE
            file.touch(mode=0o600)
            file.write_text(self._certificate, "utf-8")
        if self._front.client_ca:
            try:
                text = self._front.client_ca.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ServerError(f"the client CA can't be read: {error}") from error
            (self._folder / configuration.CLIENT_CA).write_text(text, "utf-8")
        threads = max(1, (os.cpu_count() or 1) // CORES_PER_THREAD)
        file = configuration.write(self._plan, self._front, threads, metadata)
        configuration.check(self._front.program, file)

    def start(self) -> None:
        """Start it, and wait until it takes connections.

        Raises:
            ServerError: it doesn't start.
        """
        with self._telling:
            self._start()

    def _start(self) -> None:
        for name, entries in self._maps.items():  # what was known before it started anew
            write_map(self._folder / self._map(name), entries)
        said = self._plan.run_dir / "logs" / "haproxy.log"
        output = self._log.follow()
        command = [str(self._front.program), "-db", "-f", "haproxy.cfg"]
        command += ["-p", str(self._plan.socket(PID_FILE))]
        try:
            with said.open("ab") as errors:
                self._process = subprocess.Popen(
                    command,
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    start_new_session=True,
                )
        finally:
            os.close(output)
        deadline = time.monotonic() + START_S
        while True:
            with suppress(ServerError):
                self._runtime.ask("show info")
                break
            if not self.alive or time.monotonic() > deadline:
                raise ServerError(f"HAProxy did not start; it said:\n{last_lines(said)}")
            time.sleep(POLL_S)
        told, self._told = self._told, {}
        try:
            for (what, model, side), value in told.items():
                self._tell_server(what, model, side, value)
        except ServerError:  # it would give requests to the wrong side
            self._told = told
            self.end()
            raise

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def tell(self, name: str, entries: Mapping[str, str]) -> None:
        """Make a map's entries these, if they are not already."""
        with self._telling:
            if self._maps.get(name) == entries:
                return
            self._runtime.set_map(self._map(name), entries)
            self._maps[name] = dict(entries)

    def tell_at_once(self, model: str, side: str, requests: int) -> None:
        """Say how many requests of a model a side gets at once; more wait."""
        self._tell_server("maxconn", model, side, requests)

    def tell_weights(self, model: str, weights: Mapping[str, int]) -> None:
        """Say how the requests of a model are shared by the sides."""
        for side, weight in weights.items():
            self._tell_server("weight", model, side, weight)
            if weight:
                # Who comes out of maintenance takes from those that wait; a weight alone would
                # leave it idle for as long as any do.
                self._tell_server("state", model, side, "ready")

    def tell_shadow(self, model: str, share: float) -> None:
        """Say which share of a model's requests, 0 to 1, goes through the shadow."""
        with self._telling:
            shares = self._maps.get("shadow", dict.fromkeys(self._plan.names, "0"))
            wanted = {**shares, model: str(round(1000 * share))}
            try:
                self.tell("shadow", wanted)
            except ServerError:
                self._maps["shadow"] = wanted  # it has died, and reads this as it starts anew

    def rest(self, model: str, side: str) -> None:
        """Say that a side, which has no weight, takes nothing of a model until it has some."""
        self._tell_server("state", model, side, "maint")

    def _tell_server(self, what: str, model: str, side: str, value: object) -> None:
        with self._telling:
            key = (what, model, side)
            if self._told.get(key) == value:
                return
            server = f"model_{model}/{side}"
            command = {
                "maxconn": f"set maxconn server {server} {value}",
                "weight": f"set weight {server} {value}",
                "state": f"set server {server} state {value}",
            }[what]
            if said := self._runtime.ask(command).strip():
                raise ServerError(f"HAProxy refuses {command!r}: {said}")
            self._told[key] = value

    def tell_keys(self, keys: Sequence[Key]) -> None:
        """Say who may ask what."""
        for name, entries in configuration.key_maps(keys).items():
            self.tell(name, entries)

    def on_side(self, side: str) -> int:
        """How many requests are on their way to a side, or through the shadow."""
        rows = self._rows()
        return sum(int(row["scur"] or 0) for row in rows if row["svname"] == side)

    def loads(self) -> dict[str, Load]:
        """What is on its way, by model."""
        found = {}
        for row in self._rows():
            if row["svname"] == "BACKEND":
                load = Load(int(row["qcur"] or 0), int(row["scur"] or 0))
                found[row["pxname"].removeprefix("model_")] = load
        return found

    def _rows(self, proxies: tuple[str, ...] = ("model_",)) -> list[dict[str, str]]:
        said = self._runtime.ask("show stat").removeprefix("# ")
        rows = csv.DictReader(io.StringIO(said))
        return [row for row in rows if row["pxname"].startswith(proxies)]

    def take_new_certificate(self) -> None:
        """Use the certificate as it is on disk now.

        Raises:
            ServerError: it can't be read, or HAProxy refuses it; the old one stays.
        """
        if not self._front.tls_cert:
            return
        text = configuration.read_certificate(self._front)
        if text == self._certificate:
            return
        name = configuration.CERTIFICATE
        lines = "\n".join(line for line in text.splitlines() if line.strip())
        said = self._runtime.ask(f"set ssl cert {name} <<\n{lines}\n")
        said += self._runtime.ask(f"commit ssl cert {name}")
        if "Success" not in said:
            raise ServerError(f"HAProxy refuses the certificate: {said.strip()}")
        with replacing(self._folder / name) as unfinished:
            unfinished.touch(mode=0o600)
            unfinished.write_text(text, "utf-8")
        self._certificate = text

    def end(self, grace_s: float = 0.0) -> None:
        """End it; whoever is still connected after the grace is cut off."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        if self.alive:
            self._process.terminate()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Take no more connections, and end when those that are open have ended."""
        if self._process and self.alive:
            self._process.send_signal(signal.SIGUSR1)

    def on_its_way(self) -> int | None:
        """How many requests are on their way; None if it doesn't say."""
        try:
            return sum(
                int(row["scur"] or 0)
                for row in self._rows(("model_", "grpc", "metrics"))
                if row["svname"] == "BACKEND"
            )
        except (MarsmithError, ValueError, KeyError):
            return None

    def _map(self, name: str) -> str:
        return f"{name}.map"
