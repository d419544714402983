"""A handler that does what it should not, in a server: it harms its own request alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from marsmith.cli import new
from marsmith.pipeline.build import build
from marsmith.recipe import reading, sections
from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo
from tests.support.servers import authorization, pids
from tests.support.waiting import wait_until

HANDLER = """
import sys
import threading
import time

from handlers.tasks.tensors import NamedTensorsHandler


class BadHandler(NamedTensorsHandler):
    def decode(self, instance, options):
        match isinstance(instance, dict) and instance["depth"]:
            case 101:
                sys.exit(3)
            case 102:
                raise KeyboardInterrupt
            case 103:
                threading.Thread(target=sys.exit).start()
                threading.Thread(target=lambda: 1 / 0).start()
            case 104:
                time.sleep(3600)
        return super().decode(instance, options)
"""
EXIT, INTERRUPT, THREADS, HANG = 101, 102, 103, 104

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory, server_state: Path) -> Iterator[ServerInfo]:
    folder = tmp_path_factory.mktemp("bad")
    recipe, *_ = new.write("bad", "tensors", folder, custom=True)
    (recipe.parent / "bad_handler.py").write_text(HANDLER)
    serving = sections.Serving(batch_size=8, response_timeout_s=3)
    build(reading.load(recipe).model_copy(update={"serving": serving}), folder / "store")
    with server.serve(folder / "store" / "bad.mar", port=0) as info:
        yield info


def statuses(info: ServerInfo, *depths: int) -> list[int]:
    headers = {"Authorization": authorization(info)}
    path = f"{info.inference_address}/predictions/bad"

    def ask(depth: int) -> int:
        body = {"data": {"pressure": [0.1] * 8, "depth": depth}}
        return httpx.post(path, json=body, headers=headers, timeout=300).status_code

    with ThreadPoolExecutor(len(depths)) as pool:
        return list(pool.map(ask, depths))


def test_what_ends_a_program_is_an_error_of_that_request_alone(bad: ServerInfo) -> None:
    before = pids(bad)
    assert statuses(bad, 1, EXIT, 2, INTERRUPT, 3) == [200, 500, 200, 500, 200]
    assert statuses(bad, THREADS, 1) == [200, 200]
    assert statuses(bad, 1) == [200]
    assert pids(bad) == before


def test_a_hung_worker_is_ended_and_comes_back(bad: ServerInfo) -> None:
    before = pids(bad)
    # 504 where the front has waited long enough for a second try.
    assert statuses(bad, HANG)[0] in (500, 504)
    wait_until(lambda: statuses(bad, 1) == [200])
    assert pids(bad) != before
