"""What an archive says of how it is served, in its `model-config.yaml`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from marsmith.recipe.sections import Serving
from marsmith.serving.host.plan import ModelPlan

SPARE_S = 10.0
"""An answer is waited for by so much longer than a batch may take: its turn in TorchServe."""
ROUNDS = 2
"""A worker's next batch waits beside the one that it answers; all else waits in the front."""


def read(name: str, archive: Path) -> ModelPlan:
    """Read how a model is to be served.

    What an archive doesn't say, or not in a way that TorchServe would understand, is as in a
    recipe that doesn't say it.

    Args:
        name: the model's.
        archive: a .mar file.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            manifest = json.loads(opened.read("MAR-INF/MANIFEST.json"))["model"]
            said = yaml.safe_load(opened.read(str(manifest.get("configFile", ""))))
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile, yaml.YAMLError):
        manifest, said = {}, {}
    config: Mapping[str, object] = said if isinstance(said, dict) else {}
    # Archives of marsmith have it; what they carry reads forms that come as bytes.
    front = config.get("front")
    limits = front if isinstance(front, dict) else {}
    usual = Serving()
    response_s = _number(config, "responseTimeout", usual.response_timeout_s)
    at_once = (
        ROUNDS
        * int(_number(config, "batchSize", usual.batch_size))
        * int(_number(config, "maxWorkers", 1))
    )
    most = int(_number(config, "jobQueueSize", usual.job_queue_size))
    return ModelPlan(
        name=name,
        version=str(manifest.get("modelVersion", "1.0")),
        at_once=at_once,
        most=max(most, at_once),
        max_body_bytes=int(_number(limits, "max_body_bytes", usual.max_body_bytes)),
        queue_timeout_s=_number(limits, "queue_timeout_s", response_s),
        response_timeout_s=response_s + SPARE_S,
        reads_forms=isinstance(front, dict),
    )


def _number(said: Mapping[str, object], key: str, otherwise: float) -> float:
    value = said.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return float(value)
    return float(otherwise)
