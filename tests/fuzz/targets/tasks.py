"""Every task, as `marsmith new` begins a model of it: requests in every form, and changed ones."""

from __future__ import annotations

import importlib.util
import random
from functools import cache
from typing import Any

import yaml

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from marsmith.cli import new
from marsmith.harness.wire import Request
from tests.fuzz import messages, workers
from tests.fuzz.messages import message
from tests.fuzz.workers import Worker
from tests.support import random_requests

WORKERS = tuple(tasks.known())
EACH = 3  # seeds of a task
MOST = 64  # tokens, which recipes allow more of


def seeds() -> list[bytes]:
    return [data for name in WORKERS for data in _of(name)]


def _of(name: str) -> list[bytes]:
    worker = find(name)
    (said,) = worker.ask([Request.describe()])
    described: Any = said.json()
    make = random_requests.instances(described, worker.folder)
    random_ = random.Random(name)
    found: list[bytes] = []
    while len(found) < EACH:
        _, request = random_requests.good(described, make, random_)
        if len(request.parameters) == 1:
            (part,) = request.parameters
            verb = "explain" if request.headers["explain"] == "True" else "predict"
            found.append(message(name, bytes(part.value), part.content_type or "-", verb))
    return found


@cache
def find(name: str) -> Worker:
    """The worker of a task, with the model, the settings and the files that its template has."""
    folder = workers.folder()
    recipe, source = new.write("begun", name, folder)
    spec = importlib.util.spec_from_file_location(f"begun_{name}", source)
    assert spec is not None
    assert spec.loader is not None
    written = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(written)
    read = yaml.safe_load(recipe.read_text("utf-8"))
    module = written.model().eval()
    if "assets" in read:
        written.assets(module, folder)
    section = {
        key: min(value, MOST) if key in ("max_tokens", "max_target_tokens") else value
        for key, value in (read["handler"] or {}).items()
    }
    return Worker(name, ModuleRuntime(module, workers.CPU), folder, **section)


def run(data: bytes) -> None:
    messages.run(data, WORKERS, find)


def mutate(data: bytes, random_: random.Random) -> bytes:
    return messages.mutate(data, random_)
