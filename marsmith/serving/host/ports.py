"""The ports of a server: one behind the front, five without."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack

from pydantic import BaseModel, ConfigDict

from marsmith.errors import ServerError

DEFAULT_PORT = 8080
# TorchServe's own gRPC ports, for whoever relies on them.
DEFAULT_GRPC_PORTS = (7070, 7071)
# Below lie ports that need root; TorchServe refuses the very last.
LOWEST_PORT = 1024
HIGHEST_PORT = 65534


class Ports(BaseModel):
    """Where a server listens, on loopback."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int

    def numbers(self) -> tuple[int, ...]:
        """Return all five."""
        return (
            self.inference,
            self.management,
            self.metrics,
            self.grpc_inference,
            self.grpc_management,
        )


def choose_ports(port: int) -> Ports:
    """Derive the five ports from the inference port.

    Args:
        port: P for P to P+4; the default 8080 keeps TorchServe's gRPC ports 7070 and 7071;
            0 for five free ones.

    Raises:
        ServerError: the number is out of range.
    """
    if port == 0:
        numbers = free_ports(5)
    elif LOWEST_PORT <= port <= HIGHEST_PORT - 4:
        grpc = DEFAULT_GRPC_PORTS if port == DEFAULT_PORT else (port + 3, port + 4)
        numbers = [port, port + 1, port + 2, *grpc]
    else:
        raise ServerError(
            f"port {port} is out of range: {LOWEST_PORT} to {HIGHEST_PORT - 4} (a server takes the"
            " four after it, too), or 0 for any that are free"
        )
    return Ports(**dict(zip(Ports.model_fields, numbers, strict=True)))


def free_ports(count: int) -> list[int]:
    """Let the system choose ports, and hold all until the last is chosen, so that they differ."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether no process listens at a port of an address yet.

    Raises:
        ServerError: nobody can listen there: the address is not this machine's, or the port needs
            rights that this user lacks.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As TorchServe does: connections that are still being torn down don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OverflowError as error:
            raise ServerError(f"port {port} is out of range: 1 to 65535, or 0") from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise ServerError(
                f"nobody can listen at {host}, port {port}: {error.strerror}"
            ) from error
        return True
