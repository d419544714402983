"""What an archive says of how it is to be deployed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from marsmith.archive.reading import PIN, Named, Said, check
from marsmith.errors import ArchiveError
from marsmith.serving.host import settings
from marsmith.serving.host.plan import ModelPlan
from marsmith.serving.torchserve.archives import read_model_name

STARTUP_S, RESPONSE_S = 120.0, 120.0
"""TorchServe's, for archives that don't say."""
HEALTH_S = 2.0
"""How often Ray asks whether a replica's worker is alive."""
ONE_LOOP = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}
"""Settings of Ray's for a replica's process: nothing of ours blocks its loop, so one is enough."""


@dataclass(frozen=True)
class Served:
    """One model, as its archive says it.

    Attributes:
        plan: what the front of a TorchServe knows of it.
        archive: "PATH@sha256:DIGEST", so that all replicas serve the same bytes.
        batch_size: the most requests of a batch.
        delay_s: how long a batch waits to fill.
        continuous: whether new requests join those on their way.
        streams: whether a client may have an answer in parts.
        replicas: the fewest, and the most.
        threads: those of a worker; 0 where the archive leaves that to who serves it.
        gpu: whether it is for GPUs alone.
        startup_s: how long a worker may take to load.
        response_s: how long it may take over a batch.
    """

    plan: ModelPlan
    archive: str
    batch_size: int
    delay_s: float
    continuous: bool
    streams: bool
    replicas: tuple[int, int]
    threads: int
    gpu: bool
    startup_s: float
    response_s: float

    @classmethod
    def of(cls, archive: str) -> Served:
        """Check an archive, and read what it says.

        Args:
            archive: its path, perhaps with "@sha256:DIGEST" behind it.

        Raises:
            ArchiveError: it is not a sound one.
        """
        named = Named.of(archive)
        found = check(named)
        config = found.said.config
        handler = config.get("handler")
        fewest = _whole(config, "minWorkers", 1)
        return cls(
            plan=settings.read(read_model_name(named.path), named.path),
            archive=f"{named.path.resolve()}{PIN}{found.sha256}",
            batch_size=_whole(config, "batchSize", 1),
            delay_s=_whole(config, "maxBatchDelay", 100) / 1000,
            continuous=config.get("continuousBatching") is True,
            streams=_streams(found.said),
            replicas=(fewest, max(fewest, _whole(config, "maxWorkers", 1))),
            threads=_whole(handler, "threads", 0) if isinstance(handler, dict) else 0,
            gpu=config.get("deviceType") == "gpu",
            startup_s=_whole(config, "startupTimeout", STARTUP_S),
            response_s=_whole(config, "responseTimeout", RESPONSE_S),
        )

    @property
    def name(self) -> str:
        """The model's name, and its deployment's."""
        return self.plan.name

    def here(self) -> Served:
        """The same, with a replica for each core of this machine where the archive asks for it."""
        fewest = self.plan.workers or self.replicas[0]
        return replace(self, replicas=(fewest, max(fewest, self.replicas[1])))

    def options(self) -> dict[str, Any]:
        """The options of its deployment, in the words of an applications file."""
        fewest, most = self.replicas
        return {
            "max_ongoing_requests": settings.at_once(self.batch_size, 1, self.plan.most),
            "max_queued_requests": self.plan.most,
            "health_check_period_s": HEALTH_S,
            "autoscaling_config": {
                "min_replicas": fewest,
                "max_replicas": most,
                "target_ongoing_requests": self.batch_size,
            },
            "ray_actor_options": {
                "num_cpus": self.threads or 1,
                "num_gpus": 1 if self.gpu else 0,
                "runtime_env": {"env_vars": dict(ONE_LOOP)},
            },
        }


def read(archives: tuple[str, ...]) -> list[Served]:
    """Read what archives say, in the order of their models' names.

    Raises:
        ArchiveError: one is not sound, or two hold models of one name.
    """
    found: dict[str, Served] = {}
    for archive in archives:
        served = Served.of(archive)
        if served.name in found:
            raise ArchiveError(
                f"two archives hold a model named {served.name!r}; an application takes one",
                hint="put them into applications of their own, or build one under another name",
            )
        found[served.name] = served
    return [found[name] for name in sorted(found)]


def _streams(said: Said) -> bool:
    """Whether a request may have the option `stream`, as the archive's own schema says."""
    options = (said.facts or {}).get("options")
    properties = options.get("properties") if isinstance(options, dict) else None
    # Those of others may send parts whenever they like.
    return said.facts is None or (isinstance(properties, dict) and "stream" in properties)


def _whole(said: object, key: str, otherwise: float) -> Any:
    value = said.get(key) if isinstance(said, dict) else None
    return value if isinstance(value, int) and value > 0 else otherwise
