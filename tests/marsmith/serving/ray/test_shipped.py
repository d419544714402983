"""What all shipped recipes make, on Ray Serve and on TorchServe: the same answers to all requests.

Each archive is of the recipe's first candidate, for one worker of one thread, so that numbers are
added up in one order. What differs by its nature isn't compared (`tests.support.on_ray.told`): when
something was made, where a stream of text is cut, and headers beyond those named there. Requests
come one by one, with the same ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marsmith.serving import server
from tests.support import asked_of_models
from tests.support.on_ray import Both, told
from tests.support.paths import ROOT

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

NAMES = sorted(file.stem for file in (ROOT / "archiver_configs").glob("*.yaml"))
AT_ONCE = 4
"""So many archives are served at a time: each has a worker on both servers."""
GROUPS = [NAMES[first : first + AT_ONCE] for first in range(0, len(NAMES), AT_ONCE)]


@pytest.fixture(scope="module", params=GROUPS, ids="-".join)
def archives(
    request: pytest.FixtureRequest, make_shipped_archive: Callable[[str], Path]
) -> list[Path]:
    return [make_shipped_archive(name) for name in request.param]


def test_whatever_is_asked_is_answered_alike(
    clients: Both, torchserve: server.Server, archives: list[Path]
) -> None:
    differ, statuses = [], {archive.stem: Counter[int]() for archive in archives}
    with torchserve.client() as client:
        described: Any = {name: client.describe(name) for name in statuses}
    for archive in archives:
        name = archive.stem
        for asked in asked_of_models.of(described[name]["customizedMetadata"], archive):
            expected, found = (told(http, asked) for http in clients)
            statuses[name][expected[0]] += 1
            if expected != found:
                sent = (asked.method, asked.url.path, dict(asked.headers), asked.read()[:300])
                differ.append((sent, expected, found))
    print({name: dict(each) for name, each in statuses.items()})
    assert differ == []
    assert all(each[200] > 50 and each.total() > each[200] for each in statuses.values())
    assert {status for each in statuses.values() for status in each if status >= 500} == set()
