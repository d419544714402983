"""An application: a deployment for each model, and, but for a single one, one for all clients."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marsmith.errors import ServerError
from marsmith.extras import need
from marsmith.serving.front.keys import keys_file
from marsmith.serving.ray import served
from marsmith.serving.ray.arguments import ApplicationArguments
from marsmith.serving.ray.ingress import Ingress
from marsmith.serving.ray.replica import ModelReplica
from marsmith.serving.ray.served import Served
from marsmith.serving.ray.speaking import SpeakingReplica
from marsmith.serving.ray.split import Beside

if TYPE_CHECKING:
    from ray.serve import Application

INGRESS = "_ingress"
"""No model has this name: none begins with an underscore."""
AT_ONCE = 1000
"""How many requests an ingress has on their way; all but a few wait for models."""

ONE_TRY = {"max_constructor_retry_count": 1}
"""What doesn't load would fail again: whoever waits for it is told why at once."""


def build(
    arguments: ApplicationArguments,
    more_keys: tuple[Path, ...] = (),
    beside: Mapping[str, Beside] | None = None,
) -> Application:
    """Build an application.

    Args:
        arguments: what it takes.
        more_keys: further files of keys, where requests need one at all.
        beside: new versions beside those in the application, by the names of their models. With
            it, an application that is built and run again keeps those replicas whose archive is
            the same, and replaces others once new ones run.

    Raises:
        MarsmithError: an archive isn't sound, there are several without an ingress, or Ray is
            missing.
    """
    need("ray", "ray", "starlette")
    models = [model.here() for model in served.read(arguments.archives)]
    keys = (arguments.keys_file or keys_file(), *more_keys) if arguments.keys else ()
    ingresses = ingresses_of(models, arguments)
    deployed = {each["name"]: each for each in deployments(models, ingresses)}

    def deployment(kind: type, name: str, of: Sequence[Served], *, speaks: bool = False) -> Any:
        options = deployed[name]
        if beside is not None:
            told = {model: asdict(each) for model, each in beside.items()}
            options |= {"user_config": told} if speaks else {}
            options |= {"_internal": True, "version": _version(of), "max_surge_percent": 100}
            options |= ONE_TRY
        return _deployment(kind, options, speaks=speaks)

    if not ingresses:
        (model,) = models
        speaking = deployment(SpeakingReplica, model.name, models, speaks=True)
        return speaking.bind(model, arguments.trust, keys)
    replicas = {
        model.name: deployment(ModelReplica, model.name, [model]).bind(model, arguments.trust)
        for model in models
    }
    return deployment(Ingress, INGRESS, models, speaks=True).bind(models, replicas, keys)


def build_alone(model: Served, trust: tuple[Path, ...], grace_s: float) -> Application:
    """Build an application of one model that speaks to no clients: others' ingresses ask it.

    Args:
        model: the model.
        trust: public keys, or folders of them, one of which must have signed the archive.
        grace_s: how long it may take over what is on its way, once it is to end.
    """
    grace = {"graceful_shutdown_timeout_s": grace_s}
    options = {"name": model.name, **model.options(), **grace, **ONE_TRY}
    return _deployment(ModelReplica, options).bind(model, trust)


def _version(models: Sequence[Served]) -> str:
    """Ray's name for what replicas are started from; where it stays, they do."""
    return hashlib.sha256("\n".join(model.archive for model in models).encode()).hexdigest()


def ingresses_of(models: Sequence[Served], arguments: ApplicationArguments) -> int:
    """How many replicas speak to the clients of all models; 0: the only model's own do.

    Raises:
        ServerError: there are several models, and none to speak for them.
    """
    if arguments.ingresses is None:
        return 1 if len(models) > 1 else 0
    if not arguments.ingresses and len(models) > 1:
        raise ServerError(
            f"ingresses: 0 is for one archive alone, and there are {len(models)}",
            hint="leave ingresses out, or give each archive an application of its own",
        )
    return arguments.ingresses


def deployments(models: Sequence[Served], ingresses: int) -> list[dict[str, Any]]:
    """The deployments' names and options, in the words of an applications file."""
    if not ingresses:
        return [{"name": model.name, **model.options(), **_of_clients(model)} for model in models]
    apart = {"max_replicas_per_node": 1} if ingresses > 1 else {}
    ingress = {
        "name": INGRESS,
        "num_replicas": ingresses,
        "max_ongoing_requests": AT_ONCE,
        "health_check_period_s": served.HEALTH_S,
        "ray_actor_options": {"num_cpus": 0, "runtime_env": {"env_vars": dict(served.ONE_LOOP)}},
        **apart,
    }
    return [*({"name": model.name, **model.options()} for model in models), ingress]


def _of_clients(model: Served) -> dict[str, Any]:
    """What differs where replicas speak themselves: they refuse, in our words, who is too many."""
    return {"max_ongoing_requests": max(AT_ONCE, 2 * model.plan.most), "max_queued_requests": -1}


def _deployment(kind: type, options: dict[str, Any], *, speaks: bool = False) -> Any:
    from ray import serve

    deployed = serve.deployment(serve.ingress()(kind) if speaks else kind)
    return deployed.options(logging_config={"enable_access_log": False}, **options)
