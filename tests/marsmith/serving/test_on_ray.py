"""A server on a Ray of its own: the same commands, and what it leaves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from examples.digits import held_out
from marsmith.client.clients import Client
from marsmith.errors import MarsmithError, ServerError
from marsmith.serving import server
from marsmith.serving.host import run_folder
from marsmith.serving.rollout import Step

IMAGE, DIGIT = held_out()[0]


@pytest.fixture(scope="module")
def tiny(make_tiny_archive: Callable[..., Path]) -> Path:
    return make_tiny_archive("tiny")


@pytest.mark.usefixtures("own_state")
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"front": False}, "--no-front"),
        ({"tls_cert": Path("c.pem")}, "--tls-cert"),
        ({"grpc": True}, "--grpc"),
        ({"grace_s": 5.0}, "--grace-s"),
        ({"host": "0.0.0.0"}, "needs TLS"),
        ({"host": "0.0.0.0", "keys": False}, "needs keys"),
    ],
)
def test_what_a_server_on_ray_does_not_have_is_refused(
    tiny: Path, option: dict[str, Any], said: str
) -> None:
    with pytest.raises(ServerError, match=said):
        server.serve([tiny], on="ray", port=0, **option)
    assert run_folder.read_infos() == []


@pytest.fixture(scope="module")
def on_ray(digits_archive: Path, server_state: Path) -> Iterator[server.Server]:
    pytest.importorskip("ray")
    with server.serve([digits_archive], on="ray", port=0, timeout_s=600) as found:
        yield found


@pytest.mark.slow
def test_it_answers_and_is_found_by_the_same_commands(on_ray: server.Server) -> None:
    assert server.running(on_ray.port) == on_ray
    with on_ray.client() as client:
        assert next(iter(client.predict("digits", IMAGE))) == DIGIT
    status = on_ray.status()
    assert (status.ready, status.problems) == (True, ())
    (model,) = status.models
    assert (model.name, [each.status for each in model.workers][:1]) == ("digits", ["READY"])


@pytest.mark.slow
def test_it_asks_for_keys(on_ray: server.Server) -> None:
    with Client(on_ray.inference_address) as nobody, pytest.raises(MarsmithError) as caught:
        nobody.predict("digits", IMAGE)
    assert "key" in str(caught.value)


@pytest.mark.slow
def test_what_is_torchserves_alone_is_refused(on_ray: server.Server) -> None:
    with pytest.raises(ServerError, match="on Ray has no"):
        server.scale(on_ray, "digits", 2)


@pytest.mark.slow
def test_two_versions_that_are_alike_answer_alike(
    on_ray: server.Server, digits_archive: Path
) -> None:
    steps: list[Step] = []
    finished = threading.Event()

    def ask() -> None:
        with on_ray.client() as client:
            while not finished.wait(0.05):
                assert next(iter(client.predict("digits", IMAGE))) == DIGIT

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            on_ray.rollout(
                "digits", digits_archive, steps.append, shadow=1.0, canary=(50, 100), hold_s=5.0,
                max_p99_ratio=100,
            )  # fmt: skip
        finally:
            finished.set()
        asking.result()
    assert steps[-1].phase == "ended"
    assert [step.disagreement for step in steps if step.compared > 10] != []
    assert {step.disagreement for step in steps} == {0.0}


@pytest.mark.slow
@pytest.mark.usefixtures("own_state")
def test_a_stop_leaves_nothing(
    make_tiny_archive: Callable[..., Path], assert_nothing_is_left: Callable[[], None]
) -> None:
    pytest.importorskip("ray")
    server.serve([make_tiny_archive("tiny")], on="ray", port=0, timeout_s=600).stop()
    assert_nothing_is_left()
    assert run_folder.read_infos() == []


@pytest.mark.slow
@pytest.mark.usefixtures("own_state")
@pytest.mark.parametrize(
    ("fail", "said"),
    [("runtime", "RuntimeError: weights.bin is not there"), ("exit", "exit status 9")],
)
def test_a_model_that_does_not_load_is_told_in_its_own_words(
    make_tiny_archive: Callable[..., Path],
    assert_nothing_is_left: Callable[[], None],
    fail: str,
    said: str,
) -> None:
    pytest.importorskip("ray")
    archive = make_tiny_archive("tiny", fail=fail)
    with pytest.raises(ServerError) as caught:
        server.serve([archive], on="ray", port=0, timeout_s=600)
    assert said in caught.value.message
    assert "\n" not in caught.value.message
    assert_nothing_is_left()
    assert run_folder.read_infos() == []
