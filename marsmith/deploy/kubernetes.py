"""Writes what `kubectl apply` takes: a server of archives, scaled by what waits.

See: https://kubernetes.io/docs/reference/kubernetes-api/; the chart in `charts/marsmith` writes the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsmith.deploy import _pods, _sizing
from marsmith.deploy._archives import Deployed, read
from marsmith.deploy._pods import Json, Pod

HEADER = """\
# Written by `marsmith deploy kubernetes`. See docs/kubernetes.md for the Secrets that it needs.
"""
CPU_PERCENT = 80
CALM_S = 300
QUEUE = "marsmith_queue_length"
CLIENT = "marsmith/client"
"""The label of other namespaces whose pods may ask."""


@dataclass(frozen=True)
class Scale:
    """How many pods there are.

    Attributes:
        fewest: always.
        most: when they are busy.
        waiting: requests that wait in a pod before there are more; by default a batch of each
            model.
    """

    fewest: int = 2
    most: int = 4
    waiting: int = 1


def write(
    archives: Sequence[str],
    out: Path,
    *,
    name: str,
    image: str,
    tls: bool,
    replicas: tuple[int, int],
) -> Path:
    """Write a folder for `kubectl apply`, and `chart/values.yaml` for the chart.

    Args:
        archives: paths, perhaps with digests; the image has them.
        out: an empty folder, or a new one.
        name: of all objects.
        image: see `container`; by its digest, at best.
        tls: whether pods have TLS, with the certificate of the Secret NAME-tls.
        replicas: the fewest pods, and the most.

    Raises:
        ArchiveError: one is not sound, was not built by marsmith, or does not load here.
        MarsmithError: the folder isn't empty.
    """
    models = read(archives)
    pod = Pod(name, image, [each.served.archive for each in models], _sizing.measure(models), tls)
    scale = Scale(*replicas, waiting=waiting(models))
    found = documents(pod, scale)
    _pods.write(out, found | {"chart/values": values(pod, scale)}, HEADER)
    return out


def waiting(models: Sequence[Deployed]) -> int:
    """How many requests may wait in a pod: a batch of each model."""
    return sum(model.served.batch_size for model in models)


def documents(pod: Pod, scale: Scale) -> dict[str, Json]:
    """All objects, by the names of their files."""
    return {
        "deployment": deployment(pod),
        "service": service(pod),
        "autoscaler": autoscaler(pod, scale),
        "disruption": disruption(pod),
        "network": network(pod),
        "monitor": monitor(pod),
    }


def values(pod: Pod, scale: Scale) -> Json:
    """What the chart is told, for the same objects."""
    return {
        "name": pod.name,
        "image": pod.image,
        "archives": list(pod.archives),
        "tls": pod.tls,
        "replicas": {"fewest": scale.fewest, "most": scale.most},
        "waiting": scale.waiting,
        "resources": _pods.resources(pod.size),
    }


def deployment(pod: Pod) -> Json:
    """The pods: one more before one less, spread over nodes and zones."""
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels(pod)},
        }
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]
    # A pod that is going is still asked for a moment: it takes no new requests only after that.
    leaves = {"lifecycle": {"preStop": {"sleep": {"seconds": _pods.LEAVE_S}}}}
    template = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _pods.END_S,
        "securityContext": _pods.POD_SECURITY,
        "topologySpreadConstraints": spread,
        "containers": [pod.container() | leaves],
        "volumes": pod.volumes(),
    }
    spec = {
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
        },
        "selector": {"matchLabels": labels(pod)},
        "template": {"metadata": {"labels": labels(pod)}, "spec": template},
    }
    return _object("apps/v1", "Deployment", pod, spec)


def service(pod: Pod) -> Json:
    """The address of all pods that are ready."""
    name = pod.scheme.lower()
    port = {"name": name, "port": _pods.PORT, "targetPort": name, "protocol": "TCP"}
    return _object("v1", "Service", pod, {"selector": labels(pod), "ports": [port]})


def autoscaler(pod: Pod, scale: Scale) -> Json:
    """As many pods as keep cores free and requests from waiting."""
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": CPU_PERCENT}}
    queue = {
        "metric": {"name": QUEUE},
        "target": {"type": "AverageValue", "averageValue": str(scale.waiting)},
    }
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": pod.name},
        "minReplicas": scale.fewest,
        "maxReplicas": scale.most,
        "metrics": [{"type": "Resource", "resource": cpu}, {"type": "Pods", "pods": queue}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": CALM_S}},
    }
    return _object("autoscaling/v2", "HorizontalPodAutoscaler", pod, spec)


def disruption(pod: Pod) -> Json:
    """Nodes are emptied one pod at a time."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": labels(pod)}}
    return _object("policy/v1", "PodDisruptionBudget", pod, spec)


def network(pod: Pod) -> Json:
    """Pods of this namespace, and of those with a label, may ask; pods ask nobody."""
    spec = {
        "podSelector": {"matchLabels": labels(pod)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {
                "from": [
                    {"podSelector": {}},
                    {"namespaceSelector": {"matchLabels": {CLIENT: "true"}}},
                ],
                "ports": [{"port": _pods.PORT, "protocol": "TCP"}],
            }
        ],
        "egress": [],
    }
    return _object("networking.k8s.io/v1", "NetworkPolicy", pod, spec)


def monitor(pod: Pod) -> Json:
    """What Prometheus's operator scrapes, with the key of the Secret NAME-metrics."""
    endpoint: Json = {
        "port": pod.scheme.lower(),
        "path": "/metrics",
        "scheme": pod.scheme.lower(),
        "authorization": {"credentials": {"name": f"{pod.name}-metrics", "key": "key"}},
    }
    if pod.tls:
        ca = {"secret": {"name": f"{pod.name}-tls", "key": "ca.crt"}}
        endpoint["tlsConfig"] = {"ca": ca, "serverName": pod.name}
    spec = {"selector": {"matchLabels": labels(pod)}, "endpoints": [endpoint]}
    return _object("monitoring.coreos.com/v1", "ServiceMonitor", pod, spec)


def labels(pod: Pod) -> dict[str, str]:
    """What tells its objects from those of others."""
    return {"app.kubernetes.io/name": "marsmith", "app.kubernetes.io/instance": pod.name}


def _object(version: str, kind: str, pod: Pod, spec: dict[str, Any]) -> Json:
    metadata = {"name": pod.name, "labels": labels(pod)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
