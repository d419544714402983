"""What HAProxy starts from: its configuration and its maps."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

import jinja2

from marsmith import __version__, our_handlers
from marsmith.errors import ServerError
from marsmith.serving.front.keys import Key
from marsmith.serving.front.runtime import write_map
from marsmith.serving.host.plan import SIDES, Front, Plan

TEMPLATE = Path(__file__).parent / "haproxy.cfg.j2"
CHECK_TIMEOUT_S = 30.0

# 2.6 and later can send again what fits into one buffer; see docs/production.md for what it costs.
BUFFER_BYTES = 131_072
TORCHSERVE_BODY_BYTES = 20_971_520
"""TorchServe's own limit; see config.properties."""
HEADER_BYTES = 7680
"""Netty reads 8 KiB, of which some are the front's own: an id, a key."""
MAX_CONNECTIONS = 2000
SPARE_FILES = 200
HEADER_TIMEOUT_S, BODY_TIMEOUT_S, IDLE_TIMEOUT_S = 10, 30, 10
CERTIFICATE, CLIENT_CA = "tls.pem", "client-ca.pem"
SHADOW_CONNECTIONS = 8
"""Requests of a model that are sent to both sides at once; beyond, to one alone."""
LARGE_BYTES = 1 << 20
LARGE_S, REFUSED_MOST, TARPIT_MS = 10, 2, 100
"""Whose larger bodies were too much so often in so long, and more than one in ten, has to pause."""
OPENAI_HEADER = "x-openai-route"
"""By which a handler learns of the path that a client asked at; see `handlers.protocols.openai`."""
BINARY_HEADER = "inference-header-content-length"
"""By which a client says how long the JSON before its binary tensors is."""
BEAT_S = 10
"""A supervisor that has not been heard for so long is dead, and the front no longer live."""

NAME = "[A-Za-z0-9][A-Za-z0-9_.-]*"
# Under their usual paths, where the body names the model, and under a model's own.
FORM = {r';\x20*name="?model"?\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]+)\r\n--': r"\1"}
# By their files: nothing here imports `handlers`, which would bring torch into a supervisor.
OF_OPENAI = "|".join(
    file.stem.replace("_", "/")
    for file in sorted((our_handlers.OURS / "protocols" / "openai").glob("[!_]*.py"))
)
OPENAI_ROUTES = {
    f"^/(predictions/{NAME}/({NAME}/)?)?v[12]/({OF_OPENAI})$": "v1/\\3",
    f"^/(predictions/{NAME}/{NAME}/)?({OF_OPENAI})$": "v1/\\2",  # as /rerank
}
# The first that fits; so the most usual come first.
ROUTES = {
    f"^/predictions/{NAME}(/{NAME})?$": "predict",
    f"^/v2/models/{NAME}(/versions/{NAME})?/infer$": "predict",
    f"^/v1/models/{NAME}:predict$": "predict",
    f"^/explanations/{NAME}(/{NAME})?$": "explain",
    f"^/v1/models/{NAME}:explain$": "explain",
    "^/v2/health/live$": "live",
    "^/v2/health/ready$": "ready",
    "^/ping$": "ping",
    "^/v2/?$": "server",
    f"^/v2/models/{NAME}(/versions/{NAME})?/ready$": "model_ready",
    f"^/v2/models/{NAME}(/versions/{NAME})?$": "metadata",
    f"^/v1/models/{NAME}$": "v1_ready",
    f"^/descriptions/{NAME}$": "describe",
    "^/metrics$": "metrics",
    **dict.fromkeys(OPENAI_ROUTES, "predict"),
    "^/v1/models$": "models",
}
GRPC_ROUTE = {"^/org[.]pytorch[.]serve[.]grpc[.]inference[.]InferenceAPIsService/": "grpc"}
SCOPES = {"predict": "predict describe grpc models", "explain": "explain", "metrics": "metrics"}

# What OpenAI calls the reasons of refusals, where it has a name; by ours.
OPENAI_ERRORS = {
    "key": "invalid_api_key",
    "model": "model_not_found",
    "rate": "rate_limit_exceeded",
}

SERVER = {
    "name": "marsmith",
    "version": __version__,
    "extensions": ["binary_tensor_data"],
}
# What HAProxy itself refuses, and why; with when to try again, where that may help.
ERRORS = {
    # What it can't read at all gets a 400 in HTML; see `errorfile` in its manual.
    400: ("this is not a request of HTTP", "see RFC 9112", None),
    403: ("this is not allowed", "see docs/production.md", None),
    408: ("the request took too long to come", "send it faster, or less at once", None),
    500: ("the front failed", "tell whoever runs this server", None),
    501: ("this is not a method of HTTP", "see RFC 9110", None),
    502: ("the server broke off before it answered", "send it again", 1),
    503: ("the server does not answer, or not in time", "send it again after a while", 1),
    504: ("the answer took too long", "send less at once", None),
}
LOG = {
    "time": '"%[var(txn.began),div(1000000),utime(%Y-%m-%dT%H:%M:%SZ)]"',
    "id": '"%[var(txn.id),json(utf8s)]"',
    "client": '"%ci"',
    "route": '"%[var(txn.verb)]"',
    "side": '"%s"',
    "model": '"%[var(txn.model),bytes(0,128),json(utf8s)]"',
    "version": '"%[var(txn.version)]"',
    "key": '"%[var(txn.key)]"',
    "status": "%ST",
    "refused": '"%[var(txn.refused)]"',
    "waited_ms": "%Tw",
    "microseconds": '"%[date(0,us),sub(txn.began)]"',
    "bytes_in": "%U",
    "bytes_out": "%B",
    "retries": '"%rc"',
    "end": '"%ts"',
}


def write(plan: Plan, front: Front, threads: int, metadata: Mapping[str, str]) -> Path:
    """Write `haproxy.cfg` and its maps into the server's folder.

    All paths in it are relative to that folder, where HAProxy starts, but those of sockets.

    Args:
        plan: the server's.
        front: the plan's.
        threads: HAProxy's own.
        metadata: of the Open Inference Protocol, in JSON, by model.

    Returns:
        The configuration.
    """
    folder = plan.run_dir / "front"
    write_map(folder / "routes.map", ROUTES | (GRPC_ROUTE if front.grpc_port else {}))
    write_map(folder / "openai.map", OPENAI_ROUTES)
    write_map(folder / "form.map", FORM)
    write_map(folder / "up.map", dict.fromkeys(plan.names, "down"))
    write_map(folder / "versions.map", {model.name: model.version for model in plan.models})
    of_sides = {f"{model.name}/{model.version}": SIDES[0] for model in plan.models}
    write_map(folder / "versions_sides.map", of_sides)
    write_map(folder / "limit.map", {model.name: str(model.most) for model in plan.models})
    write_map(folder / "retry.map", dict.fromkeys(plan.names, "1"))
    write_map(folder / "state.map", {"server": "starting"})
    write_map(folder / "sides.map", dict.fromkeys(SIDES, "-"))
    write_map(folder / "shares.map", dict.fromkeys(plan.names, "0"))
    write_map(folder / "shadow.map", dict.fromkeys(plan.names, "0"))
    write_map(folder / "beat.map", {"beat": "0"})
    for name in ("keys", "scopes", "rates"):
        write_map(folder / f"{name}.map", {})
    for status, (error, hint, retry_after_s) in ERRORS.items():
        file = folder / f"{status}.http"
        file.write_bytes(_response(status, {"error": error, "hint": hint}, retry_after_s))
    write_map(folder / "metadata.map", metadata)
    environment = jinja2.Environment(  # noqa: S701 - no HTML
        loader=jinja2.FileSystemLoader(TEMPLATE.parent), undefined=jinja2.StrictUndefined
    )
    text = environment.get_template(TEMPLATE.name).render(
        plan=plan,
        front=front,
        threads=threads,
        bind=_bind(front),
        names=", ".join(plan.names),
        scopes=SCOPES.items(),
        errors=list(ERRORS),
        log_format="{" + ",".join(f'"{key}":{value}' for key, value in LOG.items()) + "}",
        server_metadata=json.dumps(SERVER),
        openai_header=OPENAI_HEADER,
        binary_header=BINARY_HEADER,
        openai_models=json.dumps(_models(plan)),
        openai_errors=OPENAI_ERRORS,
        began=int(time.time()),
        torchserve_body_bytes=TORCHSERVE_BODY_BYTES,
        header_bytes=HEADER_BYTES,
        max_connections=_max_connections(),
        buffer_bytes=BUFFER_BYTES,
        header_timeout_s=HEADER_TIMEOUT_S,
        body_timeout_s=BODY_TIMEOUT_S,
        idle_timeout_s=IDLE_TIMEOUT_S,
        beat_s=BEAT_S,
        shadow_connections=SHADOW_CONNECTIONS,
        large_bytes=LARGE_BYTES,
        tarpit_ms=TARPIT_MS,
        large_s=LARGE_S,
        refused_most=REFUSED_MOST,
    )
    file = folder / "haproxy.cfg"
    file.write_text(text + "\n", encoding="utf-8")
    return file


def _models(plan: Plan) -> dict[str, object]:
    """The models as OpenAI lists them."""
    made = {"object": "model", "created": int(time.time()), "owned_by": SERVER["name"]}
    return {
        "object": "list",
        "data": [{"id": model.name, **made} for model in plan.models if model.speaks_openai],
    }


def _max_connections() -> int:
    """How many connections there may be: two files each, within what the system allows."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, (files - SPARE_FILES) // 2))


def _response(status: int, said: Mapping[str, str], retry_after_s: int | None) -> bytes:
    """A whole answer, as HAProxy sends it where it can't even read the request."""
    body = json.dumps(said)
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if retry_after_s is not None:
        lines.append(f"Retry-After: {retry_after_s}")
    return "\r\n".join([*lines, "", body]).encode()


def _bind(front: Front) -> str:
    host = f"[{front.host}]" if ":" in front.host else front.host
    line = f"{host}:{front.port}"
    if front.tls_cert:
        line += f" ssl crt {CERTIFICATE} alpn h2,http/1.1"
        if front.client_ca:
            line += f" ca-file {CLIENT_CA} verify required"
    return line


def read_certificate(front: Front) -> str:
    """The certificates and the key in one text, as HAProxy takes them.

    Raises:
        ServerError: a file can't be read.
    """
    files = [file for file in (front.tls_cert, front.tls_key) if file]
    try:
        return "\n".join(file.read_text("utf-8").strip() for file in files) + "\n"
    except (OSError, UnicodeDecodeError) as error:
        raise ServerError(f"the certificate can't be read: {error}") from error


def check(program: Path, configuration: Path) -> None:
    """Let HAProxy itself check its configuration.

    Raises:
        ServerError: it refuses it.
    """
    said = subprocess.run(
        [program, "-c", "-f", configuration.name],
        cwd=configuration.parent,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=CHECK_TIMEOUT_S,
        check=False,
    )
    if said.returncode:
        raise ServerError(f"HAProxy refuses its configuration: {said.stderr.strip()[-2000:]}")


def key_maps(keys: Sequence[Key]) -> dict[str, dict[str, str]]:
    """The maps that say who may ask what, by the names of their files."""
    return {
        "keys": {key.sha256.upper(): key.name for key in keys},
        "scopes": {key.name: ",".join(key.scopes) for key in keys},
        "rates": {key.name: str(key.rate) for key in keys if key.rate},
    }
