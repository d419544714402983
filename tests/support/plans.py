"""Plans of servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from marsmith.serving.front.haproxy import find_haproxy
from marsmith.serving.host.plan import Front, ModelPlan, Plan


def model_plan(name: str) -> ModelPlan:
    """How a model is served, when its archive says nothing."""
    return ModelPlan(
        name=name,
        version="1.0",
        at_once=2,
        most=256,
        max_body_bytes=1000,
        queue_timeout_s=1.5,
        response_timeout_s=70.0,
        reads_forms=True,
    )


def plan(folder: Path, *names: str, **front: Any) -> Plan:
    """A server's plan, in a folder."""
    (folder / "run dir" / "front").mkdir(parents=True)
    return Plan(
        run_dir=folder / "run dir",
        temp_dir=Path("/tmp/marsmith-planned"),
        java_home=folder,
        models=tuple(model_plan(name) for name in names),
        front=Front(program=find_haproxy(), **{"port": 21000, **front}),
        ports=None,
        timeout_s=60.0,
        grace_s=30.0,
    )
