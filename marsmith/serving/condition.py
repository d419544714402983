"""What a server does now, and what is wrong with it."""

from __future__ import annotations

import httpx

from marsmith.client.clients import Client
from marsmith.errors import MarsmithError
from marsmith.serving import on_ray
from marsmith.serving.host import finding
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.serving.torchserve.status import ModelStatus, ServerStatus

ASK_S = 5.0


def client(info: ServerInfo, timeout_s: float) -> Client:
    """Make a client of a server, with the key of its own user."""
    return Client(*finding.addresses(info), timeout_s=timeout_s)


def status(info: ServerInfo) -> ServerStatus:
    """Return what a server does now: its addresses, models and workers, and what is wrong."""
    if info.on == "ray":
        return on_ray.status(info)
    problems = []
    models: tuple[ModelStatus, ...] = ()
    if not finding.is_supervised(info):
        problems.append("its supervisor has died: nothing is revived; stop it, and serve anew")
    try:
        with client(info, ASK_S) as api:
            models = tuple(ModelStatus.model_validate(api.model(name)) for name in api.models())
    except MarsmithError as error:
        problems.append(f"TorchServe does not answer: {error.message}")
    problems += [
        f"{model.name} has no worker that is ready"
        for model in models
        if not any(worker.ready for worker in model.workers)
    ]
    if not problems and not says(info, "ready"):
        problems.append("its front does not say that it is ready")
    return ServerStatus(
        ready=not problems,
        problems=tuple(problems),
        inference_address=info.inference_address,
        management_address=info.management_address,
        metrics_address=info.metrics_address,
        grpc_address=info.grpc_address,
        key_file=info.key_file,
        models=models,
    )


def says(info: ServerInfo, what: str) -> bool:
    """Whether a server's front says that it is "live" or "ready"; one without a front always is."""
    if not info.front:
        return True
    transport = httpx.HTTPTransport(uds=str(info.temp_dir / "local"))
    with httpx.Client(transport=transport, timeout=ASK_S) as http:
        try:
            return http.get(f"http://front/v2/health/{what}").status_code == 200
        except httpx.HTTPError:
            return False
