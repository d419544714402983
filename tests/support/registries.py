"""A registry at loopback, for tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from marsmith.serving.host.ports import free_ports
from tests.support.waiting import wait_until

PROGRAM = "docker-registry"
CONFIGURATION = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {root}/data}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
PASSWORDS = """\
auth: {{htpasswd: {{realm: shop, path: {root}/passwords}}}}
"""


@contextmanager
def running(root: Path, passwords: str = "") -> Iterator[str]:
    """Run a registry.

    Args:
        root: where it keeps everything.
        passwords: who may ask it, as `htpasswd -B` writes it; everybody, where nothing is said.

    Yields:
        Its address, without a scheme.
    """
    if not shutil.which(PROGRAM):
        pytest.skip(f"{PROGRAM} is not installed; on Debian: apt-get install {PROGRAM}")
    (port,) = free_ports(1)
    configuration = root / "config.yml"
    said = CONFIGURATION + (PASSWORDS if passwords else "")
    configuration.write_text(said.format(root=root, port=port))
    (root / "passwords").write_text(passwords)
    log = (root / "log").open("wb")
    process = subprocess.Popen([PROGRAM, "serve", configuration], stdout=log, stderr=log)

    def answers() -> bool:
        assert process.poll() is None, (root / "log").read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v2/", timeout=5).status_code in (200, 401)
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        log.close()
