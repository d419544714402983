"""An archive serves where nothing of marsmith is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from examples.digits import held_out
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.serving.host.ports import choose_ports
from marsmith.serving.torchserve.java import find_java
from tests.support.paths import ROOT

ONLY = ["torchserve", "pillow", "numpy", "pyyaml", "psutil"]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with torch, torchserve, pillow, numpy, pyyaml and psutil, and what they need."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*install, "torch"], check=True)
    subprocess.run([*install, *ONLY], check=True)
    for name in ("handlers", "marsmith", "pydantic", "safetensors"):
        found = subprocess.run(
            [str(python), "-c", f"import {name}"], cwd=folder, capture_output=True, check=False
        )
        assert found.returncode != 0, f"{name} is not meant to be here"
    return python


@pytest.mark.slow
def test_in_torchserves_worker(bare: Path, digits_archive: Path) -> None:
    image, label = held_out()[0]
    with Harness(digits_archive, python=bare) as harness:
        (response,) = harness.predict([Request.raw(image)])
    assert next(iter(response.json())) == label


@pytest.mark.slow
def test_in_torchserve(bare: Path, digits_archive: Path, tmp_path: Path) -> None:
    ports = choose_ports(0)
    (tmp_path / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{ports.inference}\n"
        f"management_address=http://127.0.0.1:{ports.management}\n"
        f"metrics_address=http://127.0.0.1:{ports.metrics}\n"
        f"grpc_inference_port={ports.grpc_inference}\n"
        f"grpc_management_port={ports.grpc_management}\n"
    )
    command = [str(bare), "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
    command += ["--ts-config", "config.properties", "--model-store", str(digits_archive.parent)]
    environment = {**os.environ, "JAVA_HOME": str(find_java())}
    environment |= {"TEMP": str(tmp_path), "TMPDIR": str(tmp_path)}
    with (tmp_path / "console.log").open("wb") as console:
        process = subprocess.Popen(
            [*command, "--models", "digits=digits.mar"],
            cwd=tmp_path, env=environment, stdout=console, stderr=console,
        )  # fmt: skip
        try:
            assert next(iter(ask_until_answered(tmp_path, ports.inference))) == held_out()[0][1]
        finally:
            for each in psutil.Process(process.pid).children(recursive=True):
                each.kill()
            process.kill()
            process.wait(300)


def ask_until_answered(folder: Path, port: int) -> dict[str, float]:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        time.sleep(0.5)
        try:
            key = json.loads((folder / "key_file.json").read_text())["inference"]["key"]
            response = httpx.post(
                f"http://127.0.0.1:{port}/predictions/digits", content=held_out()[0][0],
                headers={"Authorization": f"Bearer {key}"}, timeout=60,
            )  # fmt: skip
        except (OSError, httpx.HTTPError):
            continue
        if response.status_code == 200:
            return dict(response.json())
    pytest.fail((folder / "console.log").read_text()[-3000:])
