"""Writes an applications file of archives, which `serve deploy` takes.

See: https://docs.ray.io/en/latest/serve/production-guide/config.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from marsmith.atomic import replacing
from marsmith.serving.ray import application, served
from marsmith.serving.ray.arguments import ApplicationArguments

IMPORT_PATH = "marsmith.serving.ray:app"
PORT = 8000
HEADER = """\
# Written by `marsmith deploy ray`. Each node has the archives at these paths, and marsmith[ray].
# Keys are read on nodes with an ingress, where keys_file says; Ray itself has no TLS here.
"""


def write(archives: Sequence[str], out: Path, arguments: ApplicationArguments) -> Path:
    """Write an applications file.

    Args:
        archives: their paths, which each node has; their digests are written behind them.
        out: the file.
        arguments: of the application, but for the archives.

    Raises:
        MarsmithError: an archive isn't sound, or two hold models of one name.
    """
    models = served.read(tuple(archives))
    with replacing(out) as unfinished:
        text = yaml.safe_dump(document(models, arguments), sort_keys=False)
        unfinished.write_text(HEADER + text, "utf-8")
    return out


def document(models: Sequence[served.Served], arguments: ApplicationArguments) -> dict[str, Any]:
    """What an applications file of some models says."""
    said = arguments.model_dump(mode="json", exclude={"archives"}, exclude_defaults=True)
    ingresses = application.ingresses_of(models, arguments)
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": PORT},  # noqa: S104 - it asks for keys
        "applications": [
            {
                "name": "marsmith",
                "route_prefix": "/",
                "import_path": IMPORT_PATH,
                "args": {"archives": [model.archive for model in models], **said},
                "deployments": application.deployments(models, ingresses),
            }
        ],
    }
