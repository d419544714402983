"""Archives that are named where they lie elsewhere: taken once, and kept by their SHA-256.

    oci://REGISTRY/NAME@sha256:DIGEST      of the manifest, as `marsmith push` says it
    https://HOST/PATH#sha256=DIGEST        of the archive

A name without a digest is refused: whoever has the place could change what is run.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import platformdirs

from marsmith.archive.registry import SIGNATURE, Registry, archive_layer
from marsmith.atomic import replacing
from marsmith.errors import ArchiveError, MarsmithError, reason

SCHEME = re.compile(r"(oci|https?):/+")  # a path has lost one of two slashes
OCI = re.compile(r"oci:/+(?P<name>.+@(?P<digest>sha256:[0-9a-f]{64}))")
HTTPS = re.compile(r"https:/+(?P<address>.+)#sha256=(?P<digest>[0-9a-f]{64})")
READ_S = 60.0


def is_remote(said: str) -> bool:
    """Whether something names an archive elsewhere."""
    return SCHEME.match(said) is not None


def take(said: str) -> tuple[Path, str]:
    """Take an archive from elsewhere, unless it was taken before.

    Args:
        said: its name; see above.

    Returns:
        The file, which others read strictly, and the SHA-256 that its bytes must have.

    Raises:
        ArchiveError: the name has no digest, or what came isn't what it names.
        MarsmithError: it can't be had.
    """
    if match := OCI.fullmatch(said):
        return _from_registry(match["name"], match["digest"])
    if match := HTTPS.fullmatch(said):
        return _from_web(f"https://{match['address']}", match["digest"])
    raise ArchiveError(
        f"{said} doesn't say which bytes it means",
        "oci://REGISTRY/NAME@sha256:DIGEST, as `marsmith push` prints it, or"
        " https://HOST/PATH#sha256=DIGEST",
    )


def folder() -> Path:
    """Where what was taken is kept."""
    return platformdirs.user_cache_path("marsmith") / "archives"


def _from_registry(name: str, digest: str) -> tuple[Path, str]:
    kept = folder() / f"{digest.removeprefix('sha256:')}.json"
    if kept.is_file() and f"sha256:{_sha256(kept)}" == digest:
        layer, _ = archive_layer(kept.read_bytes(), name)
        target = _place(layer["digest"].removeprefix("sha256:"))
        if target.is_file():
            return target, target.stem
    registry = Registry(name)
    manifest = registry.manifest(digest)
    layer, _ = archive_layer(manifest, name)
    target = _place(layer["digest"].removeprefix("sha256:"))
    with replacing(target) as unfinished:
        registry.take(layer["digest"], unfinished)
    if (bundle := registry.referring(digest, SIGNATURE)) is not None:
        with replacing(target.with_name(f"{target.name}.sig")) as unfinished:
            unfinished.write_bytes(bundle)
    with replacing(kept) as unfinished:
        unfinished.write_bytes(manifest)
    return target, target.stem


def _from_web(address: str, sha256: str) -> tuple[Path, str]:
    import httpx  # what is here needs none of it

    target = _place(sha256)
    if target.is_file():
        return target, sha256
    whole = hashlib.sha256()
    try:
        with (
            replacing(target) as unfinished,
            httpx.stream("GET", address, timeout=READ_S, follow_redirects=True) as answer,
            unfinished.open("xb") as file,
        ):
            answer.raise_for_status()
            for piece in answer.iter_bytes(1 << 20):
                whole.update(piece)
                file.write(piece)
            if whole.hexdigest() != sha256:
                raise ArchiveError(
                    f"{address} has bytes of another SHA-256: {whole.hexdigest()}, not {sha256}"
                )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise MarsmithError(f"{address}: {reason(error)}") from error
    return target, sha256


def _place(sha256: str) -> Path:
    return folder() / f"{sha256}.mar"


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
