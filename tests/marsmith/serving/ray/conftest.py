"""The archives of a test's module, `archives`, on Ray Serve and on TorchServe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from marsmith.serving import server
from tests.support.on_ray import Both, OnRay, both, started
from tests.support.servers import authorization


@pytest.fixture(scope="module")
def on_ray(archives: list[Path], server_state: Path) -> Iterator[OnRay]:
    with started(*archives, cores=max(4, 2 * len(archives))) as found:
        yield found


@pytest.fixture(scope="module")
def torchserve(archives: list[Path], server_state: Path) -> Iterator[server.Server]:
    with server.serve(archives, port=0) as found:
        yield found


@pytest.fixture
def clients(on_ray: OnRay, torchserve: server.Server) -> Iterator[Both]:
    with both(torchserve.inference_address, authorization(torchserve), on_ray) as found:
        yield found
