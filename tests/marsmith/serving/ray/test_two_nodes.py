"""Two nodes, as two machines: one loses its power, then its network; its application is new."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from marsmith.pipeline.build import build
from marsmith.recipe import sections
from marsmith.serving.front import keys
from tests.support import two_nodes
from tests.support.on_ray import Load, OnRay
from tests.support.two_nodes import OTHER, TwoNodes
from tests.support.waiting import wait_until

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

CUT_S = 20.0


@pytest.fixture(scope="module")
def key(server_state: Path) -> Iterator[str]:
    yield keys.add("two_nodes", keys.SCOPES)
    keys.revoke("two_nodes")


@pytest.fixture(scope="module")
def newer(
    digits_recipe: sections.Recipe, tmp_path_factory: pytest.TempPathFactory, store: Path
) -> Path:
    """The same model under another version."""
    folder = tmp_path_factory.mktemp("newer")
    (folder / ".cache").symlink_to(store / ".cache")
    build(digits_recipe.model_copy(update={"version": "2.0"}), folder)
    return folder / "digits.mar"


@pytest.fixture(scope="module")
def nodes(digits_archive: Path, key: str) -> Iterator[tuple[TwoNodes, OnRay]]:
    if not two_nodes.possible():
        pytest.skip("it needs root, and network namespaces")
    with two_nodes.started({"archives": [str(digits_archive)], "ingresses": 2}) as found:
        yield found


@pytest.fixture
def load(key: str, nodes: tuple[TwoNodes, OnRay]) -> Iterator[Load]:
    nodes[1].wait_for_replicas()
    with Load(lambda: two_nodes.client(key), clients=4) as found:
        yield found


def whole_again(load: Load, nodes: tuple[TwoNodes, OnRay], what: str, since: float) -> None:
    """Wait until both nodes answer as before, and say how long that took."""
    nodes[1].wait_for_replicas()
    took = time.monotonic() - since
    load.goes_on()
    print(f"{what}: both replicas are there again after {took:.0f} s; {dict(load.statuses)}")
    assert set(load.statuses) == {200}


def test_a_node_that_loses_its_power_loses_no_prediction(
    nodes: tuple[TwoNodes, OnRay], load: Load
) -> None:
    nodes[0].kill(OTHER)
    load.goes_on()
    wait_until(lambda: json.loads(nodes[1].tell("status"))["digits"].get("RUNNING") == 1)
    since = time.monotonic()
    nodes[0].start(OTHER)
    whole_again(load, nodes, "killed and started again", since)


def test_a_node_that_loses_its_network_for_a_while_loses_no_prediction(
    nodes: tuple[TwoNodes, OnRay], load: Load
) -> None:
    nodes[0].cut(OTHER, CUT_S)
    since = time.monotonic()
    load.goes_on()
    if not nodes[0].runs(OTHER):  # Ray ends a node that it has given up
        nodes[0].start(OTHER)
    whole_again(load, nodes, f"cut off for {CUT_S:.0f} s", since)


def test_an_application_is_replaced_and_no_prediction_is_lost(
    nodes: tuple[TwoNodes, OnRay], load: Load, key: str, newer: Path
) -> None:
    def versions() -> set[str]:
        with two_nodes.client(key) as http:
            return {http.get("/v2/models/digits").json()["versions"][0] for _ in range(8)}

    assert versions() == {"1.0"}
    since = time.monotonic()
    arguments = {"archives": [str(newer)], "ingresses": 2}
    assert nodes[1].tell(json.dumps(arguments)) == "done"
    wait_until(lambda: versions() == {"2.0"})
    whole_again(load, nodes, "replaced", since)
