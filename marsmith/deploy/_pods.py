"""What pods of all systems have alike: no rights, room to write, probes that tell the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from marsmith.atomic import replacing
from marsmith.deploy._archives import refuse_full
from marsmith.deploy._sizing import Size
from marsmith.deploy.container import GRACE_S, STOP_S, USER

Json = dict[str, Any]
PORT = 8080
READY, LIVE = "/v2/health/ready", "/v2/health/live"
START_S = 600
"""How long all models of a pod may take to load."""
LEAVE_S = 5
"""How long a pod that ends still takes requests: until all proxies have heard of it."""
STATE, TEMPORARY, KEYS, TLS = "/state", "/tmp", "/keys", "/tls"  # noqa: S108


@dataclass(frozen=True)
class Pod:
    """What a pod of a server is made of.

    Attributes:
        name: of all its objects.
        image: that it runs.
        archives: names of archives, or their paths in the image, each by its digest.
        size: what it takes.
        tls: whether it has TLS, with the certificate of the Secret NAME-tls; without, something
            before it must.
        model_store: the folder that names of archives are looked up in; None for paths.
    """

    name: str
    image: str
    archives: Sequence[str]
    size: Size
    tls: bool = True
    model_store: str | None = None

    @property
    def scheme(self) -> str:
        """How it is spoken to."""
        return "HTTPS" if self.tls else "HTTP"

    @property
    def command(self) -> list[str]:
        """What runs, but for what it is told."""
        return ["marsmith", "serve"]

    @property
    def arguments(self) -> list[str]:
        """What it is told."""
        store = ["--model-store", self.model_store] if self.model_store else []
        secured = ["--tls-cert", f"{TLS}/tls.crt", "--tls-key", f"{TLS}/tls.key"]
        return [
            *self.archives, *store, "--foreground", "--host", "0.0.0.0",  # noqa: S104
            "--grace-s", str(GRACE_S), "--timeout-s", str(START_S),
            *(secured if self.tls else ["--insecure-http"]),
        ]  # fmt: skip

    def container(self, name: str = "server") -> Json:
        """The container of its server."""
        mounts = {
            "state": STATE,
            "tmp": TEMPORARY,
            "keys": KEYS,
            **({"tls": TLS} if self.tls else {}),
        }
        return {
            "name": name,
            "image": self.image,
            "command": self.command,
            "args": self.arguments,
            "env": [{"name": "MARSMITH_KEYS", "value": f"{KEYS}/keys.json"}],
            "ports": [{"name": self.scheme.lower(), "containerPort": PORT, "protocol": "TCP"}],
            "startupProbe": self._probe(READY, periodSeconds=2, failureThreshold=START_S // 2),
            "readinessProbe": self._probe(READY, periodSeconds=2, failureThreshold=1),
            "livenessProbe": self._probe(LIVE, periodSeconds=10, failureThreshold=3),
            "resources": resources(self.size),
            "securityContext": CONTAINER_SECURITY,
            "volumeMounts": [
                {"name": volume, "mountPath": path}
                | ({"readOnly": True} if volume in ("keys", "tls") else {})
                for volume, path in mounts.items()
            ],
        }

    def volumes(self) -> list[Json]:
        """What it mounts."""
        secrets = ["keys", *(["tls"] if self.tls else [])]
        return [
            {"name": "state", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            *(
                {
                    "name": each,
                    "secret": {"secretName": f"{self.name}-{each}", "defaultMode": 0o440},
                }
                for each in secrets
            ),
        ]

    def _probe(self, path: str, **times: int) -> Json:
        get = {"path": path, "port": self.scheme.lower(), "scheme": self.scheme}
        return {"httpGet": get, "timeoutSeconds": 2, **times}


POD_SECURITY: Json = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What the standard `restricted` asks for, and a group that may read Secrets."""
CONTAINER_SECURITY: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}
END_S = LEAVE_S + STOP_S
"""How long a pod may take to end."""


def resources(size: Size) -> Json:
    """Requests and limits."""
    memory = f"{size.memory_mb}Mi"
    gpus = {"nvidia.com/gpu": str(size.gpus)} if size.gpus else {}
    return {
        "requests": {"cpu": str(size.cores), "memory": memory, **gpus},
        "limits": {"cpu": str(size.most_cores), "memory": memory, **gpus},
    }


def write(out: Path, documents: dict[str, Json], header: str) -> Path:
    """Write documents into a folder, one file each.

    Args:
        out: an empty folder, or a new one.
        documents: by the names of their files, without `.yaml`.
        header: comments at the head of each.

    Raises:
        MarsmithError: the folder isn't empty.
    """
    refuse_full(out)
    with replacing(out) as folder:
        folder.mkdir()
        for name, document in documents.items():
            text = yaml.dump(document, Dumper=_Plain, sort_keys=False)
            file = folder / f"{name}.yaml"
            file.parent.mkdir(exist_ok=True)
            file.write_text(header + text, "utf-8")
    return out


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # what is said twice is written twice
        return True
