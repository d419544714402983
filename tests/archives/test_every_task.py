"""Every task, in an archive that `marsmith new` began: nothing a client sends brings it down."""

from __future__ import annotations

import base64
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from handlers import tasks
from handlers.protocols.json_text import JSON
from marsmith.archive import openapi
from marsmith.harness.wire import Request, Response
from marsmith.harness.worker import Harness
from marsmith.report.report import Report
from pages import examples
from tests.support import random_requests
from tests.support.answers import check_refused, strict_json
from tests.support.mutated_requests import fresh, mutated

BATCH = 16
TOLERANCE = 1e-4  # of one answer alone and in a batch; of scores, and of what is scaled to 1


@pytest.fixture(scope="module", params=tasks.known())
def worker(
    request: pytest.FixtureRequest, make_new_archive: Callable[[str], Path]
) -> Iterator[Harness]:
    with Harness(make_new_archive(request.param), batch_size=BATCH) as harness:
        yield harness


@pytest.fixture(scope="module")
def description(worker: Harness) -> dict[str, Any]:
    return worker.describe()


@pytest.fixture(scope="module")
def instance(worker: Harness, description: dict[str, Any]) -> random_requests.Instance:
    return random_requests.instances(description, worker.archive)


def content(response: Response) -> Any:
    """What an answer says, in JSON or in a picture."""
    if response.content_type == "image/png":
        with Image.open(io.BytesIO(response.body)) as image:
            return list(image.convert("RGB").tobytes())
    if response.content_type == "application/jsonlines":
        bodies = response.body.splitlines()
        lines = [strict_json(replace(response, content_type=JSON, body=each)) for each in bodies]
        return {**lines[-1], "text": "".join(line["text"] for line in lines)}
    return strict_json(response)


def distance(one: Any, other: Any) -> float:
    """The largest difference of any number; infinite where anything else differs.

    Numbers in a string of JSON, as an output of BYTES may hold, are numbers, too.
    """
    if isinstance(one, str) and isinstance(other, str) and one != other:
        with suppress(ValueError):
            one, other = json.loads(one), json.loads(other)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((distance(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(distance, one, other), default=0.0)
    if type(one) is type(other) is float:
        return abs(one - other) / max(1.0, abs(other))
    return 0.0 if type(one) is type(other) and one == other else float("inf")


def test_in_any_company_each_is_answered_as_alone(
    worker: Harness, description: dict[str, Any], instance: random_requests.Instance
) -> None:
    pid, random_, forms = worker.pid, random.Random(20261122), Counter[str]()
    for _ in range(8):
        share, batch = random_.random(), []
        for _ in range(random_.randint(2, BATCH)):
            if random_.random() < share:
                batch.append(("bad", random_requests.bad(random_)))
            else:
                batch.append(random_requests.good(description, instance, random_))
        together = worker.predict([fresh(request) for _, request in batch])
        for (form, request), response in zip(batch, together, strict=True):
            forms[form] += 1
            if form == "bad":
                check_refused(response)
                continue
            assert response.status == 200, (form, request, response)
            (alone,) = worker.predict([fresh(request)])
            assert distance(content(response), content(alone)) <= TOLERANCE, (form, request)
    assert worker.pid == pid
    assert set(forms) >= {"bad", "data", "v1", "v2"}


def test_its_openapi_document_is_true(
    worker: Harness, description: dict[str, Any], instance: random_requests.Instance
) -> None:
    name, random_, answered = worker.archive.stem, random.Random(20261127), Counter[str]()
    document: Any = openapi.of({name: {"name": name, **description}}, "http://127.0.0.1")
    bodies = document["paths"][f"/predictions/{name}"]["post"]["requestBody"]["content"]
    if "example" in bodies[JSON]:
        check(document, bodies[JSON]["schema"], bodies[JSON]["example"])
    while len(answered) < 2:
        form, request = random_requests.good(description, instance, random_)
        explain = request.headers["explain"] == "True"
        verb, path = ("explain", "explanations") if explain else ("predict", "predictions")
        paths = {"data": f"/{path}/{name}", "v1": f"/v1/models/{name}:{verb}"}
        if form in paths:
            (response,) = worker.predict([request])
            told = document["paths"][paths[form]]["post"]["responses"]["200"]["content"]
            assert response.content_type in told
            if response.content_type == JSON:
                check(document, told[JSON]["schema"], response.json())
                answered[form] += 1


def check(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": document["components"]}
    Draft202012Validator.check_schema(whole)
    Draft202012Validator(whole).validate(value)


Check = Callable[[int], None]


@pytest.fixture(scope="module")
def check_mutations(
    worker: Harness, description: dict[str, Any], instance: random_requests.Instance
) -> Check:
    """Sends that many good requests with something in them changed; always the same ones."""

    def check(count: int) -> None:
        pid, seen, random_ = worker.pid, Counter[int](), random.Random(20260101)
        for _ in range(-(-count // BATCH)):
            batch: list[Request] = []
            while len(batch) < BATCH:
                _, request = random_requests.good(description, instance, random_)
                if len(request.parameters) == 1:
                    batch.append(mutated(request, random_))
            for request, response in zip(batch, worker.predict(batch), strict=True):
                seen[response.status // 100] += 1
                if response.status == 200:
                    content(response)
                else:
                    assert 400 <= response.status < 500, (request, response)
                    check_refused(response)
        assert worker.pid == pid
        assert set(seen) == {2, 4}, seen

    return check


def test_mutations_are_answered_or_refused(check_mutations: Check) -> None:
    check_mutations(160)


@pytest.mark.slow
def test_two_thousand_mutations_are(check_mutations: Check) -> None:
    check_mutations(2000)


def test_what_marsmith_new_writes_builds_and_is_verified(worker: Harness) -> None:
    # A build loads the archive in TorchServe's worker, and asks for its own example.
    *_, archived = Report.read(worker.archive.with_suffix(".report.json")).ladder
    assert archived.name == "archived"
    assert archived.batch_sizes == (1, 3, 8)
    assert archived.difference.max_abs_error <= 1e-4


def test_its_example_is_answered(worker: Harness, description: dict[str, Any]) -> None:
    (response,) = worker.predict([example(description, explain=False)])
    assert response.status == 200
    strict_json(response)


def test_its_page_shows_what_it_takes_and_answers(worker: Harness) -> None:
    task = worker.archive.stem.removeprefix("new_")
    said, kept = examples.asked(worker), examples.read(task)
    assert examples.alike(said, kept), f"{said}\npython -m pages.examples asks all tasks anew"


def test_an_explanation_is_given_or_refused(worker: Harness, description: dict[str, Any]) -> None:
    (response,) = worker.predict([example(description, explain=True)])
    if description["explanations"]:
        assert response.status == 200
        assert strict_json(response)
    else:
        check_refused(response)
        assert "gives no explanations" in response.json()["error"]


def example(description: dict[str, Any], *, explain: bool) -> Request:
    said = description["example"]
    return Request.raw(base64.b64decode(said["body_base64"]), said["content_type"], explain=explain)
