"""Archives in OCI registries, as CNCF's ModelPack has models; signature and bill refer to them.

See: https://github.com/modelpack/model-spec, docs/spec.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marsmith.archive import sbom, signing
from marsmith.archive.reading import Named, check
from marsmith.archive.registry import (
    FILE,
    SIGNATURE,
    Json,
    Registry,
    archive_layer,
    manifest_of,
    to_json,
)
from marsmith.atomic import replacing
from marsmith.errors import MarsmithError

MODEL = "application/vnd.cncf.model.manifest.v1+json"
CONFIG = "application/vnd.cncf.model.config.v1+json"
WEIGHTS = "application/vnd.cncf.model.weight.v1.raw"
BILL = "application/vnd.cyclonedx+json"


@dataclass(frozen=True)
class Pushed:
    """What a registry has of an archive.

    Attributes:
        reference: "oci://REGISTRY/NAME@sha256:DIGEST": of its manifest.
        referrers: the media types of what refers to it.
    """

    reference: str
    referrers: tuple[str, ...]


def push(archive: str | Path, target: str) -> Pushed:
    """Put an archive into a registry, with its bill of materials, and its signature if it has one.

    Args:
        archive: one that marsmith has built.
        target: "REGISTRY/NAME:TAG". A registry on loopback is spoken to in plain HTTP. Who may, the
            configuration of Docker says: `docker login`, or `podman login`.

    Raises:
        ArchiveError: it is not sound.
        MarsmithError: the registry refuses, or can't be reached.
        UnsupportedError: oras is not installed.
    """
    named = Named.of(archive)
    found = check(named)
    bill = sbom.document(str(named))
    registry = Registry(target)
    if not registry.tag or registry.digest:
        raise MarsmithError(f"{target} names no tag", "REGISTRY/NAME:TAG, such as :1.0")
    facts = found.said.facts or {}
    layer = registry.put_file(named.path, found.sha256, WEIGHTS)
    layer["annotations"] = {FILE: f"{facts['name']}.mar"}
    config = registry.put(to_json(_config(facts, layer["digest"])), CONFIG)
    manifest = registry.put_manifest(manifest_of(MODEL, config, layer), registry.tag)
    referrers = {BILL: to_json(bill)}
    if (bundle := signing.bundle_of(named.path)).is_file():
        referrers[SIGNATURE] = bundle.read_bytes()
    for kind, data in referrers.items():
        registry.refer(manifest, kind, data)
    return Pushed(f"oci://{registry.name}@{manifest['digest']}", tuple(referrers))


def pull(reference: str, folder: Path) -> tuple[Path, str]:
    """Take an archive out of a registry, with its signature beside it, if it has one.

    Args:
        reference: "REGISTRY/NAME:TAG" or "REGISTRY/NAME@sha256:DIGEST".
        folder: where it goes, as NAME.mar.

    Returns:
        The archive, which has been checked, and "oci://REGISTRY/NAME@sha256:DIGEST", which names
        it for good.

    Raises:
        ArchiveError: what came isn't what the digest names, or no sound archive.
        MarsmithError: the registry refuses, or can't be reached.
        UnsupportedError: oras is not installed.
    """
    registry = Registry(reference)
    data = registry.manifest(registry.digest or registry.tag or "latest")
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    layer, name = archive_layer(data, reference)
    target = folder / name
    with replacing(target) as unfinished:
        registry.take(layer["digest"], unfinished)
        check(Named(unfinished, layer["digest"].removeprefix("sha256:")))
    if (bundle := registry.referring(digest, SIGNATURE)) is not None:
        with replacing(signing.bundle_of(target)) as unfinished:
            unfinished.write_bytes(bundle)
    return target, f"oci://{registry.name}@{digest}"


def _config(facts: Mapping[str, Any], diff: str) -> Json:
    licence = facts["provenance"]["licence"]
    descriptor = {"name": facts["name"], "version": facts["version"]}
    return {
        "descriptor": descriptor | ({"licenses": [licence]} if licence else {}),
        "config": {"format": "mar", "precision": facts["precision"]},
        "modelfs": {"type": "layers", "diffIds": [diff]},
    }
