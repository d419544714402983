"""Several tasks on Ray Serve and on TorchServe: whatever fuzzing begins with, the same answers."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from marsmith.serving import server
from tests.fuzz import engine, messages
from tests.support.on_ray import Both, told
from tests.support.over_http import sent

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

TASKS = (
    "image_classification", "text_classification", "tabular", "text_generation", "recommendation",
    "tensors",
)  # fmt: skip
CORPORA = ("payloads", "options", "images", "openai")


@pytest.fixture(scope="module")
def archives(make_new_archive: Callable[[str], Path]) -> list[Path]:
    return [make_new_archive(task) for task in TASKS]


def test_every_task_answers_its_own_example_alike(clients: Both, torchserve: server.Server) -> None:
    with torchserve.client() as client:
        for model in torchserve.models:
            described: Any = client.describe(model)["customizedMetadata"]
            example = described["example"]
            asked = httpx.Request(
                "POST", f"http://server/predictions/{model}",
                content=base64.b64decode(example["body_base64"]),
                headers={"Content-Type": example["content_type"]},
            )  # fmt: skip
            expected, found = (told(http, asked) for http in clients)
            assert expected == found
            assert expected[0] == 200


@pytest.mark.parametrize("corpus", CORPORA)
def test_what_fuzzing_begins_with_is_answered_alike(clients: Both, corpus: str) -> None:
    differ, statuses = [], Counter[int]()
    for data in [*engine.kept(corpus), *engine.load(corpus).seeds()]:
        name, request = messages.read(data)
        # What is for another task is sent, too: to whichever comes next.
        task = name if name in TASKS else TASKS[sum(statuses.values()) % len(TASKS)]
        if (asked := sent(request, f"new_{task}")) is None:
            continue
        expected, found = (told(http, asked) for http in clients)
        statuses[expected[0]] += 1
        if expected != found:
            differ.append((data, expected, found))
    assert differ == []
    assert sum(statuses.values()) > 5
    assert all(status < 500 for status in statuses)
