"""The bill of materials of an archive, in CycloneDX: the model, its files, what serving needs.

It is made of the archive alone: equal archives have equal bills, without a clock or chance.

See: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from marsmith.archive.reading import inspect
from marsmith.errors import ArchiveError
from marsmith.report.report import Facts, Package
from marsmith.report.words import metric_name

SPEC = "1.6"
MODEL = "model"  # the reference that the rest of the bill has for it
UNKNOWN = "not known"
CARD = "what the model was trained with, by its own card"
OF_RECORD = "the installed files, as its RECORD lists them: lines of hash and path, sorted"
Json = dict[str, Any]


def document(path: str | Path) -> Json:
    """Write the bill of materials of an archive.

    Args:
        path: a `.mar` that marsmith built.

    Returns:
        A CycloneDX document: a machine-learning model with its card and its files, the Python
        packages that serving may need, and what needs what.

    Raises:
        ArchiveError: it is no archive, or was not built by this version of marsmith.
    """
    found = inspect(path)
    facts = _facts(found)
    packages = {f"pkg:{name}": (name, each) for name, each in facts.packages.items()}
    first = sorted(ref for ref, (_, each) in packages.items() if each.named_by)
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, f"sha256:{found['sha256']}").urn,
        "version": 1,
        "metadata": {
            "lifecycles": [{"phase": "build"}],
            "tools": {"components": [_tool(facts)]},
            "component": _model(facts, found),
        },
        "components": [_library(ref, *each) for ref, each in packages.items()],
        "dependencies": [
            {"ref": MODEL, "dependsOn": first},
            *(
                {"ref": ref, "dependsOn": [f"pkg:{name}" for name in each.requires]}
                for ref, (_, each) in packages.items()
            ),
        ],
    }


def _facts(found: Mapping[str, Any]) -> Facts:
    if found["facts"] is None:
        raise ArchiveError(
            f"{found['archive']} was not built by marsmith: it doesn't say what it is made of",
            "`marsmith inspect` shows what can be read off it, `marsmith adopt` makes a recipe",
        )
    try:
        return Facts.model_validate(found["facts"])
    except ValidationError as error:
        raise ArchiveError(
            f"{found['archive']} doesn't say all that a bill of materials needs:"
            f" {'.'.join(map(str, error.errors()[0]['loc']))}",
            "build it with this version of marsmith",
        ) from error


def _tool(facts: Facts) -> Json:
    return {"type": "application", "name": "marsmith", "version": facts.versions["marsmith"]}


def _model(facts: Facts, found: Mapping[str, Any]) -> Json:
    return {
        "type": "machine-learning-model",
        "bom-ref": MODEL,
        "name": facts.name,
        "version": facts.version,
        "hashes": _hashes(found["sha256"]),
        "licenses": _licences(facts.provenance.licence, spdx=False),
        "modelCard": _card(facts),
        "components": list(_files(found["files"])),
        "properties": _properties(_origin(facts)),
    }


def _origin(facts: Facts) -> Iterator[tuple[str, object]]:
    origin = facts.provenance
    yield "recipe:sha256", origin.recipe
    for key, value in sorted(origin.source.items()):
        if isinstance(value, Mapping) and {"name", "sha256"} <= set(value):
            yield f"source:{key}", value["name"]
            yield f"source:{key}:sha256", value["sha256"]
        elif value is not None:
            yield f"source:{key}", value
    yield "git:commit", origin.commit or UNKNOWN
    yield "git:clean", UNKNOWN if origin.clean is None else str(origin.clean).lower()
    for package, version in sorted(facts.versions.items()):
        yield f"made-with:{package}", version


def _card(facts: Facts) -> Json:
    origin = facts.provenance
    said = [*origin.data.items(), *((CARD, name) for name in origin.datasets)]
    datasets = [
        {"type": "dataset", "name": name, "description": _what(use, facts)} for use, name in said
    ]
    metric = metric_name(facts.metric) if facts.metric else "least cosine to the original"
    values = facts.measured if facts.metric else facts.min_cosine
    return {
        "modelParameters": {
            "task": facts.task,
            "datasets": datasets,
            "inputs": [{"format": facts.content_type}],
            "outputs": [{"format": media_type} for media_type in facts.media_types],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {"type": metric, "value": f"{value:.6g}", "slice": form}
                for form, value in sorted(values.items())
                if value is not None
            ]
        },
        "properties": _properties(_form(facts)),
    }


def _what(use: str, facts: Facts) -> str:
    if use == "evaluation":
        return f"held out: what was measured was measured on {facts.samples} of it"
    uses = {"training": "what passes trained on", "calibration": "what ranges were taken from"}
    return uses.get(use, use)


def _form(facts: Facts) -> Iterator[tuple[str, object]]:
    yield "runtime", facts.runtime
    yield "precision", facts.precision
    yield "quantisation", facts.precision if facts.precision.startswith("int") else "none"
    for each in facts.passes:
        yield "pass", each.get("pass", UNKNOWN)


def _files(files: Mapping[str, Mapping[str, object]]) -> Iterator[Json]:
    for name, file in sorted(files.items()):
        yield {
            "type": "file",
            "bom-ref": f"file:{name}",
            "name": name,
            "hashes": _hashes(str(file["sha256"])),
            "properties": _properties([("bytes", file["bytes"])]),
        }


def _library(ref: str, name: str, package: Package) -> Json:
    made: Json = {
        "type": "library",
        "bom-ref": ref,
        "name": name,
        "version": package.version,
        "purl": f"pkg:pypi/{name}@{quote(package.version, safe='.!~')}",
        "licenses": _licences(package.licence, package.spdx),
    }
    said = [("named-by", place) for place in package.named_by]
    if package.sha256:
        made["hashes"] = _hashes(package.sha256)
        said.append(("hash-of", OF_RECORD))
    return made | {"properties": _properties(said)} if said else made


def _licences(licence: str, spdx: bool) -> list[Json]:
    if spdx:
        return [{"expression": licence}]
    return [{"license": {"name": licence or UNKNOWN}}]


def _hashes(sha256: str) -> list[Json]:
    return [{"alg": "SHA-256", "content": sha256}]


def _properties(said: Iterable[tuple[str, object]]) -> list[Json]:
    return [{"name": f"marsmith:{name}", "value": str(value)} for name, value in said]
