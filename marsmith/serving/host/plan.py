"""What a server is started from: decided once, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from marsmith.serving.host.ports import Ports

SIDES = ("a", "b")
"""Where a TorchServe may stand behind the front: one serves, the other may take over."""
PLAN = "plan.json"
"""What a plan is called in the folder of its server."""


class ModelPlan(BaseModel):
    """One model that is served, as its archive says it.

    Attributes:
        name: its name.
        version: its version.
        workers: how many it gets; None for as many as its archive says.
        at_once: how many requests TorchServe gets at once; more wait in the front.
        most: how many requests may be on their way, waiting or not.
        max_body_bytes: of one request.
        max_json_bytes: of one that is JSON, without binary tensors; None for as many.
        queue_timeout_s: how long a request may wait.
        response_timeout_s: how long TorchServe may take over an answer.
        reads_forms: whether its handler reads forms itself, when they come as bytes.
        speaks_openai: whether its handler knows OpenAI's routes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    workers: int | None = None
    at_once: int
    most: int
    max_body_bytes: int
    queue_timeout_s: float
    response_timeout_s: float
    reads_forms: bool
    speaks_openai: bool = False
    max_json_bytes: int | None = None


class Front(BaseModel):
    """How HAProxy stands before TorchServe.

    Attributes:
        program: HAProxy.
        host: an address of this machine.
        port: where it listens.
        keys: whether requests need one.
        tls_cert: a PEM file with certificates; none: plain HTTP.
        tls_key: a PEM file with the key; none: it is in `tls_cert`.
        client_ca: a PEM file; only clients with a certificate of these may connect.
        grpc_port: TorchServe's port for gRPC, on loopback; none: it is not offered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: Path
    host: str = "127.0.0.1"
    port: int
    keys: bool = True
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    grpc_port: int | None = None

    @property
    def address(self) -> str:
        """Where clients of this machine ask."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        host = f"[{host}]" if ":" in host else host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}"


LogFormat = Literal["text", "json"]


class Plan(BaseModel):
    """A server that is to be started.

    Attributes:
        run_dir: its folder of configuration, keys and logs.
        temp_dir: for its sockets and extracted models.
        java_home: the Java to run TorchServe.
        models: what it serves.
        front: how HAProxy stands before it; None: TorchServe alone, at `ports`.
        ports: of TorchServe alone.
        timeout_s: how long it may take to start.
        grace_s: how long a stop waits for requests on their way.
        trust: public keys, or folders of them, one of which must have signed each archive; None
            where each is pinned by who made it.
        log_format: of what TorchServe and its workers log.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_dir: Path
    temp_dir: Path
    java_home: Path
    models: tuple[ModelPlan, ...]
    front: Front | None
    ports: Ports | None
    timeout_s: float
    grace_s: float
    trust: tuple[Path, ...] | None = ()
    log_format: LogFormat = "text"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its models."""
        return tuple(model.name for model in self.models)

    def socket(self, name: str) -> Path:
        """The path of a Unix socket of the server."""
        return self.temp_dir / name

    def side(self, name: str, models: tuple[ModelPlan, ...]) -> Plan:
        """The plan of a TorchServe of some models, on a side of this server."""
        update: dict[str, object] = {"models": models}
        if name != SIDES[0]:
            update |= {"run_dir": self.run_dir / name, "temp_dir": self.temp_dir / name}
            update |= {"front": None}
        return self.model_copy(update=update)

    def settings(self) -> dict[str, str]:
        """TorchServe's settings, instead of those that ship."""
        if self.ports is None:
            apis = ("inference", "management", "metrics")
            grpc = self.front.grpc_port if self.front else None
            return {
                **{f"{api}_address": f"unix:{self.socket(api)}" for api in apis},
                # TorchServe can't do without; nobody knows the ports, nor the keys.
                "grpc_inference_port": str(grpc or 0),
                "grpc_management_port": "0",
            }
        return {
            "inference_address": f"http://127.0.0.1:{self.ports.inference}",
            "management_address": f"http://127.0.0.1:{self.ports.management}",
            "metrics_address": f"http://127.0.0.1:{self.ports.metrics}",
            "grpc_inference_port": str(self.ports.grpc_inference),
            "grpc_management_port": str(self.ports.grpc_management),
        }
