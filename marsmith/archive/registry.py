"""One name in an OCI registry, by oras' client: blobs, manifests, and what refers to them.

What comes back is held against the digest that named it: a registry is trusted with nothing.

See: https://github.com/opencontainers/distribution-spec, spec.md.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from marsmith.archive.login import log_in
from marsmith.errors import ArchiveError, MarsmithError, reason
from marsmith.extras import need

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
SIGNATURE = "application/vnd.dev.sigstore.bundle.v0.3+json"
FILE = "org.cncf.model.filepath"
MOST_BYTES = 4 << 20
"""Of a manifest, as registries have it, and of what refers to it."""
ATTEMPTS = 2
TIMES_S = (10, 120)
"""To connect, and for each read."""
NAME = re.compile(
    r"(?P<registry>[A-Za-z0-9.-]+(?::\d+)?)/(?P<name>[a-z0-9][a-z0-9._/-]*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+)(:\d+)?")
Json = dict[str, Any]


class Registry:
    """One name in a registry, by oras' client.

    Args:
        said: "REGISTRY/NAME", perhaps with a tag or a digest, perhaps behind "oci://".

    Raises:
        MarsmithError: it is no such name.
        UnsupportedError: oras is not installed.
    """

    def __init__(self, said: str) -> None:
        need("registry", "oras")
        from oras.client import OrasClient
        from oras.decorator import retry

        match = NAME.fullmatch(said.removeprefix("oci://"))
        if match is None:
            raise MarsmithError(
                f"{said} names nothing in a registry",
                "REGISTRY/NAME:TAG or REGISTRY/NAME@sha256:DIGEST, in lower case",
            )
        self.name = f"{match['registry']}/{match['name']}"
        self.tag, self.digest = match["tag"], match["digest"]
        self._client = OrasClient(insecure=bool(LOOPBACK.fullmatch(match["registry"])))
        # Of its own accord it asks five times, for two minutes.
        once = type(self._client).do_request.__wrapped__
        asked = retry(ATTEMPTS, 1)(functools.partial(once, self._client))
        self._client.do_request = asked
        session = self._client.session
        session.request = functools.partial(session.request, timeout=TIMES_S)
        self._container = self._client.get_container(self.name)
        log_in(self._client, self._container)

    def put(self, data: bytes, kind: str) -> Json:
        """Put a blob; return its descriptor."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "blob"
            file.write_bytes(data)
            return self.put_file(file, hashlib.sha256(data).hexdigest(), kind)

    def put_file(self, file: Path, sha256: str, kind: str) -> Json:
        """Put a file's bytes, piece by piece; return their descriptor."""
        layer = {"mediaType": kind, "digest": f"sha256:{sha256}", "size": file.stat().st_size}
        self._said(
            lambda: self._client.upload_blob(str(file), self._container, layer, do_chunked=True)
        )
        return layer

    def put_manifest(self, said: Json, tag: str | None = None) -> Json:
        """Put a manifest or an index, by its digest or a tag; return its descriptor."""
        data = to_json(said)
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        kind = said["mediaType"]
        self._ask("PUT", tag or digest, data=data, headers={"Content-Type": kind})
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def manifest(self, reference: str) -> bytes:
        """A manifest, held against its digest if that names it.

        Raises:
            ArchiveError: it is another, or there is none.
        """
        answer = self._ask("GET", reference, headers={"Accept": f"{MANIFEST}, {INDEX}"})
        data: bytes = answer.content
        if reference.startswith("sha256:"):
            _compare(data, reference, f"the manifest of {self.name}")
        return data

    def take(self, digest: str, into: Path) -> None:
        """Take a blob, piece by piece, into a file.

        Raises:
            ArchiveError: its bytes are others.
        """
        self._said(lambda: self._client.get_blob(self._container, digest, head=True))
        whole = hashlib.sha256()
        with (
            self._said(
                lambda: self._client.get_blob(self._container, digest, stream=True)
            ) as answer,
            into.open("xb") as file,
        ):
            for piece in answer.iter_content(1 << 20):
                whole.update(piece)
                file.write(piece)
        if f"sha256:{whole.hexdigest()}" != digest:
            raise ArchiveError(f"{self.name} has other bytes than {digest} names: it was changed")

    def refer(self, subject: Json, kind: str, data: bytes) -> None:
        """Put what refers to a manifest; a registry without an API for it gets an index."""
        empty = self.put(b"{}", EMPTY)
        said = manifest_of(kind, empty, self.put(data, kind)) | {"subject": subject}
        made = self.put_manifest(said) | {"artifactType": kind}
        known = [each for each in self._referrers(subject["digest"]) if each != made]
        others = [each for each in known if each.get("artifactType") != kind]
        if made not in self._referrers(subject["digest"], api_alone=True):
            index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*others, made]}
            self.put_manifest(index, _tag(subject["digest"]))

    def referring(self, digest: str, kind: str) -> bytes | None:
        """What refers to a manifest, of one media type; None if nothing does.

        Raises:
            ArchiveError: its bytes are others than its digest names.
        """
        for each in self._referrers(digest):
            if each.get("artifactType") == kind:
                (layer,) = json.loads(self.manifest(each["digest"]))["layers"]
                if layer["size"] > MOST_BYTES:
                    raise ArchiveError(
                        f"what refers to {digest} is larger than {MOST_BYTES:,} bytes"
                    )
                with tempfile.TemporaryDirectory() as folder:
                    self.take(layer["digest"], Path(folder) / "blob")
                    return (Path(folder) / "blob").read_bytes()
        return None

    def _referrers(self, digest: str, api_alone: bool = False) -> list[Json]:
        address = f"{self._base}/referrers/{digest}"
        answer = self._client.do_request(address, "GET", headers={"Accept": INDEX})
        if answer.status_code != 200 and not api_alone:
            answer = self._client.do_request(
                f"{self._base}/manifests/{_tag(digest)}", "GET", headers={"Accept": INDEX}
            )
        found: list[Json] = answer.json().get("manifests", []) if answer.status_code == 200 else []
        return found

    @property
    def _base(self) -> str:
        return f"{self._client.prefix}://{self._container.registry}/v2/{self._container.api_prefix}"

    def _ask(self, verb: str, reference: str, **what: Any) -> Any:
        address = f"{self._base}/manifests/{reference}"
        return self._said(lambda: self._client.do_request(address, verb, **what))

    def _said(self, ask: Any) -> Any:
        """What a registry says.

        Raises:
            MarsmithError: it refuses, or can't be reached.
        """
        import requests

        try:
            answer = ask()
            answer.raise_for_status()
        except (requests.RequestException, ValueError, OSError) as error:
            raise MarsmithError(
                f"{self.name}: {reason(error)}",
                "who may, `docker login` or `podman login` says; names and tags are case-sensitive",
            ) from error
        return answer


def manifest_of(kind: str, config: Json, layer: Json) -> Json:
    """A manifest of one layer."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": config,
        "layers": [layer],
    }


def _compare(data: bytes, digest: str, what: str) -> None:
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise ArchiveError(f"{what} has other bytes than {digest} names: it was changed")


def _tag(digest: str) -> str:
    return digest.replace(":", "-")


def to_json(said: Json) -> bytes:
    """Bytes that are equal for what is equal."""
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def archive_layer(manifest: bytes, reference: str) -> tuple[Json, str]:
    """The archive's descriptor, and its name.

    Raises:
        ArchiveError: the manifest is of no archive.
    """
    try:
        (layer,) = json.loads(manifest)["layers"]
        name = layer["annotations"][FILE]
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.mar", name):
            raise ValueError(f"its file is named {ascii(name)[:80]}")
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", layer["digest"]):
            raise ValueError("its layer has no SHA-256")
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(
            f"{reference} is no archive that `marsmith push` has put there: {reason(error)}"
        ) from error
    return layer, name
