"""Applications on the Ray that this process has started: run, looked at, deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marsmith.errors import ServerError
from marsmith.serving.ray import application
from marsmith.serving.ray.arguments import ApplicationArguments
from marsmith.serving.ray.condition import RUNS
from marsmith.serving.ray.served import Served
from marsmith.serving.ray.split import Beside

if TYPE_CHECKING:
    from ray.serve import Application

APPLICATION, CANDIDATE = "marsmith", "marsmith-candidate"


class Applications:
    """The application that clients ask, and in a rollout that of a new version beside it.

    Args:
        arguments: of the application.
        keys: a file of keys, beside those that the arguments name.
        logs: where Ray's logs are, to be named in errors.
    """

    def __init__(self, arguments: ApplicationArguments, keys: Path, logs: Path) -> None:
        self.arguments, self._keys, self._logs = arguments, keys, logs
        self.beside: dict[str, Beside] = {}

    def run(self) -> None:
        """Have Ray serve the application as it is now, and wait until it does.

        Raises:
            MarsmithError: an archive isn't sound, or doesn't load.
        """
        built = application.build(self.arguments, (self._keys,), self.beside)
        self._run(built, APPLICATION, "/")

    def run_candidate(self, model: Served, grace_s: float) -> None:
        """Have Ray serve a new version, which no client can ask by itself.

        Raises:
            ServerError: it doesn't load.
        """
        self._run(application.build_alone(model, self.arguments.trust, grace_s), CANDIDATE, None)

    def delete_candidate(self) -> None:
        """End the new version's application, once it has answered what it has."""
        from ray import serve

        with suppress(Exception):  # there is none, or what is half-started can't be told to end
            serve.delete(CANDIDATE)

    def _run(self, built: Application, name: str, prefix: str | None) -> None:
        from ray import serve

        try:
            serve.run(built, name=name, route_prefix=prefix)
        except RuntimeError as error:
            said = serve.status().applications.get(name)
            raise ServerError(
                "Ray does not serve it: " + _cause(said, error),
                hint=f"see its logs in {self._logs}; `marsmith run` tries an archive",
            ) from None


def replicas(model: str, name: str = APPLICATION) -> Iterator[Mapping[str, Any]]:
    """The replicas of a model in an application: `id`, `pid`, and `status`, "READY" or Ray's."""
    for each in _deployments(name).get(model, {}).get("replicas", ()):
        ready = "READY" if each["state"] in RUNS else each["state"]
        yield {"id": each["replica_id"], "pid": each.get("pid") or 0, "status": ready}


def any_stops() -> bool:
    """Whether a replica of what clients ask answers what it has, and then ends."""
    deployments = _deployments(APPLICATION).values()
    return any(each["state"] == "STOPPING" for some in deployments for each in some["replicas"])


def _deployments(name: str) -> Mapping[str, Any]:
    from ray.serve.context import _get_global_client

    details = _get_global_client().get_serve_details()
    found: Mapping[str, Any] = details["applications"].get(name, {}).get("deployments", {})
    return found


def _cause(said: Any, error: RuntimeError) -> str:
    """What ended a start: the last thing that a replica's error says."""
    messages = [each.message for each in said.deployments.values()] if said else []
    lines = [line for line in "\n".join(messages).splitlines() if line.strip()]
    ours = [line for line in lines if line.lstrip().startswith("marsmith.errors.")]
    return (ours or lines or [str(error)])[-1].strip().removeprefix("marsmith.errors.")
