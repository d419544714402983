"""The OpenAPI document: valid, and true of real answers."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator import validate

from examples.digits import held_out
from marsmith.archive.openapi import document
from marsmith.errors import ArchiveError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from tests.support.changed_archives import contents, summed

IMAGES = [image for image, _ in held_out()[:2]]
TEXTS = [base64.b64encode(image).decode() for image in IMAGES]
# Of each path, a body in its protocol.
BODIES: dict[str, Any] = {
    "/predictions/digits": {"data": {"b64": TEXTS[0]}, "parameters": {"top_k": 2}},
    "/v1/models/digits:predict": {"instances": TEXTS},
    "/v2/models/digits/infer": {
        "inputs": [{"name": "x", "shape": [2], "datatype": "BYTES", "data": TEXTS}]
    },
    "/explanations/digits": {"data": TEXTS[0], "parameters": {"target": "3"}},
    "/v1/models/digits:explain": {"instances": TEXTS},
}
NOT_THEIRS = {
    "/predictions/digits": {"data": 7},
    "/v1/models/digits:predict": {"instances": []},
    "/v2/models/digits/infer": {"inputs": [{"name": "x", "shape": [2]}]},
    "/explanations/digits": {"data": TEXTS[0], "parameters": {"steps": 1}},
    "/v1/models/digits:explain": {"instances": TEXTS, "parameters": {"top_k": 1}},
}
JSON = "application/json"


@pytest.fixture(scope="module")
def described(digits_archive: Path) -> dict[str, Any]:
    return document([digits_archive])


@pytest.fixture(scope="module")
def harness(digits_archive: Path) -> Iterator[Harness]:
    with Harness(digits_archive) as running:
        yield running


def check(described: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": described["components"]}
    Draft202012Validator.check_schema(whole)
    Draft202012Validator(whole).validate(value)


def test_the_document_is_valid(described: dict[str, Any]) -> None:
    validate(described)
    assert list(described["paths"]) == ["/v2/health/ready", *BODIES]
    explained = described["paths"]["/explanations/digits"]["post"]
    assert "image/png" in explained["responses"]["200"]["content"]
    names = [each["operationId"] for path in described["paths"].values() for each in path.values()]
    assert len(set(names)) == len(names)


def test_archives_of_all_tasks_make_one_document(new_archives: dict[str, Path]) -> None:
    described: dict[str, Any] = document(list(new_archives.values()), "https://models.example.com")
    validate(described)
    assert {f"/predictions/new_{task}" for task in new_archives} <= set(described["paths"])
    assert described["servers"] == [{"url": "https://models.example.com"}]


@pytest.mark.parametrize("path", BODIES)
def test_real_answers_are_as_described(
    described: dict[str, Any], harness: Harness, path: str
) -> None:
    operation, body = described["paths"][path]["post"], BODIES[path]
    check(described, operation["requestBody"]["content"][JSON]["schema"], body)
    (response,) = harness.predict([Request.json(body, explain="expl" in path)])
    assert response.status == 200
    answered = operation["responses"]["200"]["content"][JSON]["schema"]
    check(described, answered, response.json())


@pytest.mark.parametrize("path", NOT_THEIRS)
def test_what_is_refused_is_not_described(
    described: dict[str, Any], harness: Harness, path: str
) -> None:
    operation, body = described["paths"][path]["post"], NOT_THEIRS[path]
    with pytest.raises(ValidationError):
        check(described, operation["requestBody"]["content"][JSON]["schema"], body)
    (response,) = harness.predict([Request.json(body, explain="expl" in path)])
    assert response.status in (400, 422)
    answer = operation["responses"][str(response.status)]["$ref"].rpartition("/")[2]
    said = described["components"]["responses"][answer]["content"][JSON]["schema"]
    check(described, said, response.json())


def test_a_form_has_the_file_and_the_options(described: dict[str, Any]) -> None:
    body = described["paths"]["/predictions/digits"]["post"]["requestBody"]["content"]
    assert set(body) == {JSON, "multipart/form-data", "application/octet-stream"}
    name = body["multipart/form-data"]["schema"]["$ref"].rpartition("/")[2]
    form = described["components"]["schemas"][name]
    assert form["required"] == ["data"]
    assert form["properties"]["data"]["format"] == "binary"
    assert form["properties"]["top_k"]["type"] == "integer"


def test_archives_it_knows_nothing_of_are_refused(digits_archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="two of the archives"):
        document([digits_archive, Path(shutil.copy(digits_archive, tmp_path / "again.mar"))])
    files = contents(digits_archive)
    del files["MAR-INF/marsmith.json"]
    bare = summed(files, tmp_path / "bare.mar")
    with pytest.raises(ArchiveError, match="no schemas"):
        document([bare])


ASKED: dict[str, Any] = {
    "/v1/embeddings": ("text_embedding", {"input": ["one", "another"]}),
    "/v1/completions": ("text_generation", {"prompt": "import", "max_tokens": 3}),
    "/v1/rerank": (
        "reranking",
        {"query": "a", "documents": ["b", {"text": "c"}], "return_documents": True},
    ),
}


@pytest.mark.slow
def test_openai_s_routes_are_described_as_they_answer(
    make_new_archive: Callable[[str], Path],
) -> None:
    described: dict[str, Any] = document([make_new_archive(task) for task, _ in ASKED.values()])
    validate(described)
    assert {path for path in described["paths"] if "models" not in path} >= set(ASKED)
    for path, (task, fields) in ASKED.items():
        operation = described["paths"][path]["post"]
        taken = operation["requestBody"]["content"][JSON]["schema"]
        body = {"model": f"new_{task}", **fields}
        check(described, taken, body)
        headers = {"x-openai-route": path.removeprefix("/")}
        with Harness(make_new_archive(task), batch_size=2) as harness:
            answered, refused = harness.predict(
                [Request.json(each, headers) for each in (body, {**body, "user": 7})]
            )
        assert (answered.status, refused.status) == (200, 400)
        responses = operation["responses"]
        check(described, responses["200"]["content"][JSON]["schema"], answered.json())
        check(described, responses["400"]["content"][JSON]["schema"], refused.json())
        for wrong in ({**body, "model": "other"}, {"model": body["model"]}, {**body, "user": 7}):
            with pytest.raises(ValidationError):
                check(described, taken, wrong)


@pytest.mark.slow
def test_a_recording_is_sent_to_openai_s_route_as_a_form(
    make_new_archive: Callable[[str], Path],
) -> None:
    described: dict[str, Any] = document([make_new_archive("speech_recognition")])
    validate(described)
    operation = described["paths"]["/v1/audio/transcriptions"]["post"]
    assert set(operation["requestBody"]["content"]) == {"multipart/form-data"}
    form = described["components"]["schemas"]["AudioTranscriptionsRequest"]
    assert form["required"] == ["model", "file"]
    assert form["properties"]["model"]["enum"] == ["new_speech_recognition"]
    assert form["properties"]["file"]["format"] == "binary"
    assert "/v1/chat/completions" not in described["paths"]
