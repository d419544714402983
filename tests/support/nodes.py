"""Two machines to train on: network namespaces of this one, with a wire between them.

Their addresses are those kept for documentation (RFC 5737), and lead nowhere else.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

ADDRESSES = ("192.0.2.1", "192.0.2.2")
PORT = 29500
WIRE = "wire"


class Nodes:
    """The two; what is started on them sees no network but the wire."""

    def __init__(self) -> None:
        self.names = [f"marsmith-{os.getpid()}-{place}" for place in range(2)]

    def set_up(self) -> None:
        """Make them, or skip the test where that isn't allowed."""
        if shutil.which("ip") is None or os.getuid() != 0:
            pytest.skip("network namespaces need root, and `ip` of iproute2")
        if (made := _ip("netns", "add", self.names[0])).returncode:
            pytest.skip(f"no network namespace can be made here: {made.stderr}")
        _checked("netns", "add", self.names[1])
        one, other = self.names
        _checked("link", "add", WIRE, "netns", one, "type", "veth",
                 "peer", "name", WIRE, "netns", other)  # fmt: skip
        for name, address in zip(self.names, ADDRESSES, strict=True):
            _checked("-n", name, "address", "add", f"{address}/24", "dev", WIRE)
            for device in ("lo", WIRE):
                _checked("-n", name, "link", "set", device, "up")

    def start(
        self, place: int, command: list[str], words: Path, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start Python on one of them; what it says goes to a file."""
        with words.open("wb") as said:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.names[place], sys.executable, *command],
                cwd=ROOT,
                env={**os.environ, "GLOO_SOCKET_IFNAME": WIRE, **environment},
                stdout=said,
                stderr=said,
            )

    def torchrun(self, place: int, command: list[str], words: Path) -> subprocess.Popen[bytes]:
        """Start a module on one of them, as one process of two."""
        meeting = ["--nnodes=2", f"--node-rank={place}", f"--rdzv-endpoint={ADDRESSES[0]}:{PORT}"]
        run = ["-m", "torch.distributed.run", *meeting, "--nproc-per-node=1", "-m", *command]
        return self.start(place, run, words)

    def kill(self, place: int) -> None:
        """Kill all that runs on one of them."""
        for process in _ip("netns", "pids", self.names[place]).stdout.split():
            os.kill(int(process), signal.SIGKILL)

    def cut(self) -> None:
        """Cut the wire: nothing closes a connection."""
        _checked("-n", self.names[1], "link", "set", WIRE, "down")

    def end(self) -> None:
        """Kill what is left, and take them down."""
        for place, name in enumerate(self.names):
            self.kill(place)
            _ip("netns", "delete", name)


def _ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)


def _checked(*arguments: str) -> None:
    done = _ip(*arguments)
    assert done.returncode == 0, done.stderr
