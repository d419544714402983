"""What ships, running: the digits archive in TorchServe's own worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from marsmith.harness.worker import Harness


@pytest.fixture(scope="session")
def digits(digits_archive: Path) -> Iterator[Harness]:
    """One worker for all tests, which is part of the test: none of them may end it."""
    with Harness(digits_archive, batch_size=32) as harness:
        yield harness
