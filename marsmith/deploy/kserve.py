"""Writes a runtime and a service for KServe, by the Open Inference Protocol.

See: https://kserve.github.io/website/docs/concepts/resources/servingruntime.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from marsmith.archive.reading import PIN
from marsmith.deploy import _pods, _sizing
from marsmith.deploy._archives import read
from marsmith.deploy._pods import Json, Pod
from marsmith.errors import MarsmithError

HEADER = "# Written by `marsmith deploy kserve`. See docs/kubernetes.md.\n"
MOUNTED = "/mnt/models"
"""Where KServe puts what `storageUri` names."""
STORAGES = ("oci://", "pvc://")
FORMAT = "marsmith"


def write(
    archives: Sequence[str], out: Path, *, name: str, image: str, storage: str, canary: int | None
) -> Path:
    """Write `runtime.yaml` and `service.yaml`.

    Args:
        archives: paths, perhaps with digests; these bytes must lie in the storage.
        out: an empty folder, or a new one.
        name: of the service, and with `-runtime` of its runtime.
        image: see `container`; archives may be `mounted`.
        storage: "oci://IMAGE", whose `/models` has the archives, or "pvc://CLAIM/FOLDER".
        canary: the share of the requests that this revision gets at first, in per cent; None for
            all of them.

    Raises:
        ArchiveError: one is not sound, was not built by marsmith, or does not load here.
        MarsmithError: the storage is none that KServe mounts, or the folder isn't empty.
    """
    if not storage.startswith(STORAGES):
        raise MarsmithError(
            f"the storage {storage!r} is not mounted, but copied: it begins with "
            + " or ".join(STORAGES)
        )
    models = read(archives)
    named = [f"{model.name}{PIN}{model.sha256}" for model in models]
    size = _sizing.measure(models)
    # KServe's own ingress has TLS, and speaks plain HTTP to pods.
    pod = Pod(name, image, named, size, tls=False, model_store=MOUNTED)
    found = {"runtime": runtime(pod), "service": service(pod, storage, canary)}
    return _pods.write(out, found, HEADER)


def runtime(pod: Pod) -> Json:
    """What serves archives of this format: all that lie in the storage."""
    # Which archives, the service says.
    container = replace(pod, archives=()).container("kserve-container")
    port = container["ports"][0]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterServingRuntime",
        "metadata": {"name": f"{pod.name}-runtime"},
        "spec": {
            "protocolVersions": ["v2", "v1"],
            "supportedModelFormats": [{"name": FORMAT, "version": "1", "autoSelect": True}],
            "containers": [container | {"ports": [port]}],
            "volumes": pod.volumes(),
        },
    }


def service(pod: Pod, storage: str, canary: int | None) -> Json:
    """The service of some archives, by their digests."""
    share = {} if canary is None else {"canaryTrafficPercent": canary}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": pod.name},
        "spec": {
            "predictor": {
                **share,
                "securityContext": _pods.POD_SECURITY,
                "terminationGracePeriodSeconds": _pods.END_S,
                "model": {
                    "modelFormat": {"name": FORMAT, "version": "1"},
                    "runtime": f"{pod.name}-runtime",
                    "protocolVersion": "v2",
                    "storageUri": storage,
                    "args": pod.arguments,
                    "resources": _pods.resources(pod.size),
                },
            }
        },
    }
