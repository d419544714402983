"""What `marsmith deploy ray` writes, deployed by Ray's own command; replicas come and go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from marsmith.serving.front import keys
from marsmith.serving.host.ports import free_ports
from tests.support.on_ray import Load, cluster
from tests.support.paths import ROOT
from tests.support.ray_cluster import DASHBOARD
from tests.support.waiting import AT_MOST_S, wait_until

pytest.importorskip("ray.serve")  # it warns at its first import
pytestmark = pytest.mark.slow


def serve(dashboard: int, *arguments: str) -> str:
    """Run Ray's command `serve`."""
    command = [sys.executable, "-m", "ray.serve.scripts", *arguments]
    done = subprocess.run(
        [*command, "--address", f"http://127.0.0.1:{dashboard}"],
        cwd=ROOT, capture_output=True, text=True, timeout=AT_MOST_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def replicas(dashboard: int) -> dict[str, int]:
    """How many replicas of digits are in which state, as `serve status` says it."""
    application = yaml.safe_load(serve(dashboard, "status"))["applications"]["marsmith"]
    found: dict[str, int] = application["deployments"].get("digits", {}).get("replica_states", {})
    return found


def test_what_is_written_is_deployed_and_replicas_come_and_go_with_the_load(
    digits_archive: Path, server_state: Path, tmp_path: Path
) -> None:
    file, (port,) = tmp_path / "serve.yaml", free_ports(1)
    command = [sys.executable, "-m", "marsmith.cli", "deploy", "ray", str(digits_archive)]
    subprocess.run([*command, "--out", str(file)], cwd=ROOT, check=True, timeout=120)
    said: Any = yaml.safe_load(file.read_text("utf-8"))
    said["http_options"] = {"host": "127.0.0.1", "port": port}
    (digits,) = said["applications"][0]["deployments"]
    digits["autoscaling_config"] |= {  # what a user may change
        "min_replicas": 1, "max_replicas": 3, "target_ongoing_requests": 2,
        "upscale_delay_s": 2, "downscale_delay_s": 5,
    }  # fmt: skip
    file.write_text(yaml.safe_dump(said), "utf-8")
    headers = {"Authorization": f"Bearer {keys.add(f'deploy{port}')}"}

    def client() -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120)

    dashboard = free_ports(1)[0]
    with cluster(dashboard, 0, 6, DASHBOARD) as process:
        assert process.stdout
        assert next(line for line in process.stdout if line.startswith("UP"))
        serve(dashboard, "deploy", str(file))
        wait_until(lambda: replicas(dashboard) == {"RUNNING": 1})
        with Load(client, 16) as load:
            wait_until(lambda: replicas(dashboard) == {"RUNNING": 3})
            load.goes_on()
        assert set(load.statuses) == {200}
        wait_until(lambda: replicas(dashboard) == {"RUNNING": 1})
    keys.revoke(f"deploy{port}")
