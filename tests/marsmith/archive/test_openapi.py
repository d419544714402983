"""The OpenAPI document: valid, and true of real answers."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
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
BODIES: dict[str, Any] = {
    "": {"data": {"b64": TEXTS[0]}},
    ".v1": {"instances": TEXTS},
    ".v2": {"inputs": [{"name": "x", "shape": [2], "datatype": "BYTES", "data": TEXTS}]},
}


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


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def test_the_document_is_valid(described: dict[str, Any]) -> None:
    validate(described)
    assert list(described["paths"]) == ["/predictions/digits", "/explanations/digits"]
    explained = described["paths"]["/explanations/digits"]["post"]
    assert "image/png" in explained["responses"]["200"]["content"]


def test_archives_of_all_tasks_make_one_document(new_archives: dict[str, Path]) -> None:
    described: dict[str, Any] = document(list(new_archives.values()), "https://models.example.com")
    validate(described)
    assert {f"/predictions/new_{task}" for task in new_archives} <= set(described["paths"])
    assert described["servers"] == [{"url": "https://models.example.com"}]


@pytest.mark.parametrize("protocol", BODIES)
@pytest.mark.parametrize(("kind", "explain"), [("Answer", False), ("Explanation", True)])
def test_real_answers_are_as_described(
    described: dict[str, Any], harness: Harness, kind: str, explain: bool, protocol: str
) -> None:
    path = "/explanations/digits" if explain else "/predictions/digits"
    operation = described["paths"][path]["post"]
    body = BODIES[protocol]
    check(described, operation["requestBody"]["content"]["application/json"]["schema"], body)
    (response,) = harness.predict([Request.json(body, explain=explain)])
    assert response.status == 200
    answered = operation["responses"]["200"]["content"]["application/json"]["schema"]
    check(described, answered, response.json())
    check(described, ref(f"digits.{kind}{protocol}"), response.json())


def test_refusals_and_options_are_as_described(described: dict[str, Any], harness: Harness) -> None:
    options = ref("digits.Answer.options")
    check(described, options, {"top_k": 3})
    for parameters in ({"top_k": 0}, {"top_x": 3}):
        with pytest.raises(ValidationError):
            check(described, options, parameters)
        body = {"data": TEXTS[0], "parameters": parameters}
        (response,) = harness.predict([Request.json(body)])
        assert response.status == 422
        check(described, ref("Error"), response.json())


def test_archives_it_knows_nothing_of_are_refused(digits_archive: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="two of the archives"):
        document([digits_archive, Path(shutil.copy(digits_archive, tmp_path / "again.mar"))])
    files = contents(digits_archive)
    del files["MAR-INF/marsmith.json"]
    bare = summed(files, tmp_path / "bare.mar")
    with pytest.raises(ArchiveError, match="no schemas"):
        document([bare])
