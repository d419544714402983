"""The running servers: how they are configured, against what `serve` would write today."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from marsmith.doctor import holes
from marsmith.doctor.findings import Finding, Level
from marsmith.doctor.properties import values
from marsmith.errors import ServerError
from marsmith.serving import condition
from marsmith.serving.host.finding import is_alive
from marsmith.serving.host.plan import PLAN, SIDES, Front, Plan
from marsmith.serving.host.run_folder import ServerInfo, read_infos
from marsmith.shipped import shipped

LOOPBACK = ("127.0.0.1", "::1", "localhost")
OF_THE_RUN = {"model_store": "store"}


def check(versions: Mapping[str, str]) -> Iterator[Finding]:
    """Look at every server of this user that runs.

    Args:
        versions: of TorchServe and the libraries in its jar, by name.
    """
    try:
        running = [info for info in read_infos() if is_alive(info)]
    except RuntimeError:  # there is no home directory: `places` says so
        return
    if not running:
        yield Finding(part="servers", level="good", what="no server of this user runs")
    for info in running:
        yield from of_server(info, versions)


def of_server(info: ServerInfo, versions: Mapping[str, str]) -> Iterator[Finding]:
    """Look at one server."""
    part = f"server {info.port}"

    def found(level: Level, what: str, hint: str = "") -> Finding:
        return Finding(part=part, level=level, what=what, hint=hint)

    status = condition.status(info)
    for problem in status.problems:
        yield found("bad", problem, f"marsmith status --port {info.port}; its logs: {info.logs}")
    if info.on == "ray":
        if status.ready:
            yield found("good", "it serves on Ray")
        return
    try:
        plan = Plan.model_validate_json((info.run_dir / PLAN).read_bytes())
    except (OSError, ValidationError):
        yield found("bad", "it doesn't say what it was started from", "stop it, and serve anew")
        return
    if plan.front is None:
        names = ", ".join(hole.ids[0] for hole in holes.open_without_front(versions) if hole.ids)
        yield found(
            "bad", f"bare TorchServe: what the front would close is open: {names}",
            "serve without --no-front",
        )  # fmt: skip
    else:
        yield from (found(*each) for each in of_front(plan.front))
    differing = list(_differences(info.run_dir, plan))
    for what in differing:
        yield found("bad", what, "stop it, and serve anew")
    if not differing:
        yield found("good", "its config.properties is what `serve` writes")


def of_front(front: Front) -> Iterator[tuple[Level, str, str]]:
    """What the settings of a front do: how it stands, what it is, what to do."""
    if not front.keys:
        yield (
            "note",
            "it asks for no keys: every user of this machine may ask it",
            "serve with keys",
        )
    if front.host not in LOOPBACK and front.tls_cert is None:
        yield (
            "note", f"plain HTTP at {front.host}: keys and requests can be read on their way",
            "--tls-cert, unless a proxy with TLS stands before it",
        )  # fmt: skip
    if front.grpc_port is not None:
        yield (
            "note", "gRPC is on: users of this machine may find TorchServe's own port",
            "leave --grpc out where nobody asks by gRPC",
        )  # fmt: skip


def expected(plan: Plan) -> dict[str, str]:
    """The settings that `serve` writes for a plan."""
    return values(shipped("config.properties")) | plan.settings() | OF_THE_RUN


def _differences(run_dir: Path, plan: Plan) -> Iterator[str]:
    for name in SIDES:
        side = plan.side(name, plan.models)
        file = side.run_dir / "torchserve" / "config.properties"
        if not file.exists() and name != SIDES[0]:  # only in a rollout, and after it
            continue
        with suppress(ServerError):  # it has ended meanwhile
            have, wanted = values(file), expected(side)
            for key in sorted(have.keys() | wanted.keys()):
                if have.get(key) != wanted.get(key):
                    yield f"{file}: {key}={have.get(key, '')}, not {wanted.get(key, '')}"
