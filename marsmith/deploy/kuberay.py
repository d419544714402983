"""Writes a RayService: the applications file of `ray`, and the cluster that it runs on.

See: https://docs.ray.io/en/latest/cluster/kubernetes/getting-started/rayservice-quick-start.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import yaml

from marsmith.deploy import _pods, _sizing, container, ray
from marsmith.deploy._archives import Deployed, read
from marsmith.deploy._pods import Json
from marsmith.deploy._sizing import Size
from marsmith.errors import UnsupportedError

HEADER = "# Written by `marsmith deploy kuberay`. See docs/kubernetes.md.\n"
HEAD = Size(memory_mb=2048, cores=1, gpus=0)
"""Ray's own processes, and a dashboard."""
SHARED_MB = 512
PORTS = {"gcs": 6379, "dashboard": 8265, "client": 10001, "serve": ray.PORT}
GROUP = "servers"
RAYLET = "http://127.0.0.1:52365/api/local_raylet_healthz"
SERVES = f"http://127.0.0.1:{ray.PORT}/-/healthz"
ASK = "import sys, urllib.request as r; [r.urlopen(url, timeout=2) for url in sys.argv[1:]]"


def write(
    archives: Sequence[str], out: Path, *, name: str, image: str, replicas: tuple[int, int]
) -> Path:
    """Write `rayservice.yaml`.

    Args:
        archives: paths, perhaps with digests; the image has them.
        out: an empty folder, or a new one.
        name: of the service.
        image: see `container --for ray`.
        replicas: the fewest worker pods, and the most.

    Raises:
        ArchiveError: one is not sound, was not built by marsmith, or does not load here.
        MarsmithError: the folder isn't empty.
        UnsupportedError: Ray is not installed, so that its version isn't known.
    """
    models = read(archives)
    try:
        version = metadata.version("ray")
    except metadata.PackageNotFoundError as error:
        raise UnsupportedError("ray is not installed", "pip install 'marsmith[ray]'") from error
    found = document(models, _sizing.measure(models), name, image, version, replicas)
    return _pods.write(out, {"rayservice": found}, HEADER)


def document(
    models: Sequence[Deployed], size: Size, name: str, image: str, version: str,
    replicas: tuple[int, int],
) -> Json:  # fmt: skip
    """A RayService of some archives."""
    fewest, most = replicas
    applications = container.applications(models)
    for key in ("proxy_location", "http_options"):  # KubeRay's own, of the whole cluster
        applications.pop(key)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": {"name": name},
        "spec": {
            "serveConfigV2": yaml.safe_dump(applications, sort_keys=False),
            "rayClusterConfig": {
                "rayVersion": version,
                "enableInTreeAutoscaling": True,
                "headGroupSpec": {
                    # No model runs beside what the cluster can't do without.
                    "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104
                    "template": {"spec": _pod("ray-head", image, HEAD, name, PORTS)},
                },
                "workerGroupSpecs": [
                    {
                        "groupName": GROUP,
                        "replicas": fewest,
                        "minReplicas": fewest,
                        "maxReplicas": most,
                        "rayStartParams": {},
                        "template": {
                            "spec": _pod("ray-worker", image, size, name, {"serve": PORTS["serve"]})
                        },
                    }
                ],
            },
        },
    }


def _pod(role: str, image: str, size: Size, name: str, ports: dict[str, int]) -> Json:
    mounts = {"state": _pods.STATE, "tmp": _pods.TEMPORARY, "shm": "/dev/shm"}  # noqa: S108
    return {
        "automountServiceAccountToken": role == "ray-head",  # its autoscaler asks for pods
        "securityContext": _pods.POD_SECURITY,
        "terminationGracePeriodSeconds": _pods.END_S,
        "containers": [
            {
                "name": role,
                "image": image,
                "ports": [{"name": key, "containerPort": port} for key, port in ports.items()],
                "env": [{"name": "MARSMITH_KEYS", "value": f"{_pods.KEYS}/keys.json"}],
                "resources": _pods.resources(size),
                # KubeRay's own ask by wget, which the image doesn't have.
                "livenessProbe": _probe(RAYLET, periodSeconds=10, failureThreshold=12),
                "readinessProbe": _probe(
                    *([RAYLET] if role == "ray-head" else [RAYLET, SERVES]), periodSeconds=5
                ),
                "securityContext": _pods.CONTAINER_SECURITY,
                "volumeMounts": [
                    *({"name": key, "mountPath": path} for key, path in mounts.items()),
                    {"name": "keys", "mountPath": _pods.KEYS, "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "state", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{SHARED_MB}Mi"}},
            {"name": "keys", "secret": {"secretName": f"{name}-keys", "defaultMode": 0o440}},
        ],
    }


def _probe(*addresses: str, **times: int) -> Json:
    command = ["/opt/marsmith/bin/python", "-c", ASK, *addresses]
    return {"exec": {"command": command}, "timeoutSeconds": 5, **times}
