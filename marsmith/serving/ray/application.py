"""An application: a deployment for each model, and one that speaks to clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marsmith.extras import need
from marsmith.serving.front.keys import keys_file
from marsmith.serving.ray import served
from marsmith.serving.ray.arguments import ApplicationArguments
from marsmith.serving.ray.ingress import Ingress
from marsmith.serving.ray.replica import ModelReplica

if TYPE_CHECKING:
    from ray.serve import Application

INGRESS = "_ingress"
"""No model has this name: none begins with an underscore."""
AT_ONCE = 1000
"""How many requests an ingress has on their way; all but a few wait for models."""


def build(arguments: ApplicationArguments) -> Application:
    """Build an application.

    Raises:
        MarsmithError: an archive isn't sound, or Ray is missing.
    """
    need("ray", "ray", "starlette")
    from ray import serve

    quiet = {"enable_access_log": False}
    models = served.read(arguments.archives)
    deployed = {}
    for model in models:
        deployment = serve.deployment(ModelReplica).options(
            name=model.name, logging_config=quiet, **model.options()
        )
        deployed[model.name] = deployment.bind(model, arguments.trust)
    ingress = serve.deployment(serve.ingress()(Ingress)).options(
        name=INGRESS, logging_config=quiet, **ingress_options(arguments.ingresses)
    )
    keys = (arguments.keys_file or keys_file()) if arguments.keys else None
    return ingress.bind(models, deployed, keys)


def ingress_options(replicas: int) -> dict[str, Any]:
    """The options of the ingress, in the words of an applications file."""
    apart = {"max_replicas_per_node": 1} if replicas > 1 else {}
    return {
        "num_replicas": replicas,
        "max_ongoing_requests": AT_ONCE,
        "health_check_period_s": served.HEALTH_S,
        "ray_actor_options": {"num_cpus": 0},
        **apart,
    }
