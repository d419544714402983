"""What tests of every room share: one built archive, and a state folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.digits import held_out
from marsmith import server
from marsmith.server.run_folder import ServerInfo

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def digits_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits archive, built by the command as a user would; its report lies beside it."""
    store = tmp_path_factory.mktemp("store")
    command = [sys.executable, "-m", "marsmith.cli", "build", "archiver_configs/digits.yaml"]
    subprocess.run([*command, "--model-store", str(store)], cwd=ROOT, check=True, timeout=300)
    return store / "digits.mar"


@pytest.fixture(scope="session")
def images() -> list[tuple[bytes, str]]:
    """Held-out digits: PNGs and their labels."""
    return held_out()


@pytest.fixture(scope="session")
def server_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the servers of the tests apart from those of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        state = tmp_path_factory.mktemp("state")
        patch.setenv("MARSMITH_STATE", str(state))
        yield state


@pytest.fixture(scope="session")
def digits_server(digits_archive: Path, server_state: Path) -> Iterator[ServerInfo]:
    """TorchServe with digits; tests leave it as they found it."""
    info = server.serve([digits_archive], port=0, timeout_s=120)
    try:
        yield info
    finally:
        server.stop(info)


@pytest.fixture(scope="session")
def command_environment() -> dict[str, str]:
    """An environment in which `marsmith` and `torchserve` are found."""
    scripts = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
