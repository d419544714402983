"""Signs archives, and tells who has signed one, with keys in files.

A signature is a bundle of its own beside the archive, `NAME.mar.sig`. OpenSSF's tool reads and
writes it, too: `python -m model_signing verify key NAME.mar --signature NAME.mar.sig --public_key
KEY`.

See: https://github.com/ossf/model-signing-spec; `model_signing.signing`, `model_signing.verifying`.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from marsmith.archive.reading import Named, check
from marsmith.atomic import replacing
from marsmith.errors import ArchiveError, MarsmithError, reason
from marsmith.extras import need

BUNDLE_BYTES = 1 << 20
KEY_FILES = (".pem", ".pub")
CURVES = "an elliptic curve's, P-256, P-384 or P-521, as PEM"


def bundle_of(archive: Path) -> Path:
    """Where the signature of an archive lies."""
    return archive.with_name(f"{archive.name}.sig")


def usable(key: Path) -> None:
    """Refuse a private key that can't sign, before there is anything to sign.

    Raises:
        MarsmithError: it can't be used.
        UnsupportedError: model-signing is not installed.
    """
    need("sign", "model_signing", "OpenSSL")
    from model_signing import signing

    try:
        signing.Config().use_elliptic_key_signer(private_key=key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise MarsmithError(
            f"{key} is no private key that can sign: {reason(error)}",
            f"it must be {CURVES}, without a password: openssl ecparam -name prime256v1 -genkey"
            " -noout -out KEY; openssl ec -in KEY -pubout -out KEY.pub",
        ) from error


def sign(archive: Path, key: Path) -> Path:
    """Sign an archive.

    Args:
        archive: a sound one, perhaps with a digest: nobody should answer for another.
        key: a private key.

    Returns:
        The bundle, beside the archive; an older one is replaced.

    Raises:
        ArchiveError: the archive isn't sound.
        MarsmithError: the key can't be used.
        UnsupportedError: model-signing is not installed.
    """
    usable(key)
    from model_signing import signing

    named = Named.of(archive)
    check(named)
    with replacing(bundle_of(named.path)) as unfinished:
        signing.Config().use_elliptic_key_signer(private_key=key).sign(named.path, unfinished)
    return bundle_of(named.path)


def signer(archive: Path, trusted: Sequence[Path], held: Path | None = None) -> Path:
    """Tell whose signature an archive has.

    Args:
        archive: a file with its bundle beside it.
        trusted: public keys, or folders of them (`*.pem`, `*.pub`).
        held: a copy of the archive, that is read in its place.

    Returns:
        The key that has signed it.

    Raises:
        ArchiveError: none of them has signed these bytes.
        MarsmithError: a key can't be read.
        UnsupportedError: model-signing is not installed.
    """
    need("sign", "model_signing", "OpenSSL")
    keys = [key for place in trusted for key in _keys(place)]
    among = ", ".join(str(key) for key in keys) or f"none: {', '.join(map(str, trusted))} is empty"
    bundle = _bundle(archive)
    refusals = []
    with tempfile.TemporaryDirectory() as folder:
        read = Path(folder) / "bundle"
        read.write_bytes(bundle)
        for key in keys:
            refusals.append(_refusal(held or archive, read, key))
            if not refusals[-1]:
                return key
    # A signature names its key, so that another one's refusal says nothing of the bytes.
    why = next((each for each in refusals if not each.startswith("Key mismatch")), "")
    raise ArchiveError(
        f"{archive} is signed by nobody who is trusted ({among})" + (f": {why}" if why else ""),
        "sign it: marsmith sign ARCHIVE --key KEY; or trust whoever has signed it",
    )


def _keys(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    return sorted(file for file in place.iterdir() if file.suffix in KEY_FILES)


def _bundle(archive: Path) -> bytes:
    """Read a bundle that is of files at all: an empty list of them would fit anything ignored."""
    path = bundle_of(archive)
    try:
        with path.open("rb") as stream:
            data = stream.read(BUNDLE_BYTES + 1)
    except OSError as error:
        raise ArchiveError(
            f"{archive} is not signed: {path.name} can't be read: {error.strerror}",
            "sign it: marsmith sign ARCHIVE --key KEY",
        ) from error
    try:
        if len(data) > BUNDLE_BYTES:
            raise ValueError(f"it has more than {BUNDLE_BYTES:,} bytes")
        payload = json.loads(base64.b64decode(json.loads(data)["dsseEnvelope"]["payload"]))
        if len(payload["predicate"]["resources"]) < 1:
            raise ValueError("it is of no file")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArchiveError(f"{path} is no signature: {reason(error)}") from error
    return data


def _refusal(archive: Path, bundle: Path, key: Path) -> str:
    """Why a key's owner has not signed an archive; empty if they have."""
    from model_signing import verifying

    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise MarsmithError(
            f"{key} is no public key that can be trusted: {reason(error)}", f"it must be {CURVES}"
        ) from error
    try:
        verifier.verify(archive, bundle)
    except Exception as error:  # whatever somebody else's bundle makes somebody else's code raise
        other = str(error).startswith("Signature mismatch")
        return "its signature is of other bytes" if other else reason(error)
    return ""
