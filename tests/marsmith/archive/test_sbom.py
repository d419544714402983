"""The bill of materials of an archive: valid, true, and the same for equal archives."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from marsmith.archive import sbom
from marsmith.archive.reading import FACTS, inspect
from marsmith.archive.sums import SUMS
from marsmith.errors import ArchiveError
from tests.support.changed_archives import contents, repack, summed


def invalid(bill: dict[str, Any]) -> object:
    """What the official schema says is wrong; None if nothing is."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill))


def properties(component: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in component["properties"]}


@pytest.fixture(scope="module")
def bill(digits_archive: Path) -> dict[str, Any]:
    return sbom.document(digits_archive)


def test_the_bills_of_all_tasks_are_valid(new_archives: dict[str, Path]) -> None:
    for path in new_archives.values():
        bill: dict[str, Any] = sbom.document(path)
        assert invalid(bill) is None
        refs = {each["bom-ref"] for each in bill["components"]} | {sbom.MODEL}
        for each in bill["dependencies"]:
            assert {each["ref"], *each["dependsOn"]} <= refs
    assert invalid({**bill, "serialNumber": "1"}) is not None


def test_the_build_writes_the_bill_beside_the_archive(
    digits_archive: Path, bill: dict[str, Any]
) -> None:
    assert json.loads(digits_archive.with_name("digits.cdx.json").read_text()) == bill


def test_equal_archives_have_equal_bills_and_others_have_not(
    digits_archive: Path, bill: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "renamed.mar").write_bytes(digits_archive.read_bytes())
    assert sbom.document(tmp_path / "renamed.mar") == bill
    other = sbom.document(repack(contents(digits_archive), tmp_path / "other.mar"))
    assert other["serialNumber"] != bill["serialNumber"]
    assert "timestamp" not in bill["metadata"]


def test_the_models_card_says_what_was_measured(digits_archive: Path, bill: dict[str, Any]) -> None:
    found = inspect(digits_archive)
    model = bill["metadata"]["component"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": found["sha256"]}]
    assert model["licenses"] == [{"license": {"name": "not known"}}]
    card = model["modelCard"]
    assert card["modelParameters"]["task"] == "image_classification"
    names = {each["name"] for each in card["modelParameters"]["datasets"]}
    assert names == set(found["facts"]["provenance"]["data"].values())
    assert "examples.digits:held_out" in names
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]
    measured = found["facts"]["measured"]
    assert {each["slice"]: float(each["value"]) for each in metrics} == pytest.approx(measured)
    assert {each["type"] for each in metrics} == {"accuracy"}
    assert properties(card)["marsmith:quantisation"] == "none"
    assert properties(model)["marsmith:recipe:sha256"] == found["facts"]["provenance"]["recipe"]


def test_every_file_of_the_archive_is_in_it(digits_archive: Path, bill: dict[str, Any]) -> None:
    files = {each["name"]: each for each in bill["metadata"]["component"]["components"]}
    assert set(files) == set(contents(digits_archive))
    digest = inspect(digits_archive)["files"]["model.pt"]["sha256"]
    assert files["model.pt"]["hashes"][0]["content"] == digest


def test_packages_have_versions_hashes_licences_and_who_needs_them(bill: dict[str, Any]) -> None:
    packages = {each["name"]: each for each in bill["components"]}
    torch = packages["torch"]
    assert torch["version"] == version("torch")
    assert torch["purl"] == f"pkg:pypi/torch@{version('torch').replace('+', '%2B')}"
    assert "expression" in torch["licenses"][0]
    assert len(torch["hashes"][0]["content"]) == 64
    needs = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    assert "pkg:torch" in needs[sbom.MODEL]
    assert "pkg:sympy" in needs["pkg:torch"]
    assert "pkg:sympy" not in needs[sbom.MODEL]


def test_an_archive_that_does_not_say_it_is_refused(digits_archive: Path, tmp_path: Path) -> None:
    files = contents(digits_archive)
    facts = json.loads(files.pop(FACTS))
    by_hand = {name: data for name, data in files.items() if name != SUMS}
    with pytest.raises(ArchiveError, match="was not built by marsmith"):
        sbom.document(repack(by_hand, tmp_path / "foreign.mar"))
    del facts["packages"]
    files[FACTS] = json.dumps(facts).encode()
    with pytest.raises(ArchiveError, match="packages") as caught:
        sbom.document(summed(files, tmp_path / "older.mar"))
    assert "build it with this version" in caught.value.hint
