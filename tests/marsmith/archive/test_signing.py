"""Who has signed an archive: one of those who are trusted, or nobody."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from marsmith.archive import signing
from marsmith.archive.signing import bundle_of, sign, signer
from marsmith.errors import ArchiveError, MarsmithError
from tests.support.hostile_archives import good, summed
from tests.support.signing_keys import write_keys
from tests.support.zip_writer import written

pytest.importorskip("model_signing")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shop` and `stranger`, each `.pem` and `.pub`."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("shop", "stranger"):
        write_keys(folder, name)
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "small.mar"
    path.write_bytes(written(summed(good(tmp_path / "canary"))))
    return path


def test_who_has_signed_is_told_by_key_or_by_folder(archive: Path, keys: Path) -> None:
    assert (
        sign(archive, keys / "shop.pem") == bundle_of(archive) == archive.with_name("small.mar.sig")
    )
    trusted = archive.parent / "trusted"
    trusted.mkdir()
    for name in ("stranger.pub", "shop.pub"):
        (trusted / name).write_bytes((keys / name).read_bytes())
    (trusted / "notes.txt").write_text("no key")
    assert signer(archive, [keys / "shop.pub"]) == keys / "shop.pub"
    assert signer(archive, [trusted]) == trusted / "shop.pub"
    assert signer(archive, [keys / "stranger.pub", keys / "shop.pub"]) == keys / "shop.pub"


def test_a_copy_is_read_in_the_place_of_the_archive(archive: Path, keys: Path) -> None:
    sign(archive, keys / "shop.pem")
    held = archive.with_name("held.mar")
    held.write_bytes(archive.read_bytes())
    archive.write_bytes(b"other")
    assert signer(archive, [keys / "shop.pub"], held) == keys / "shop.pub"
    held.write_bytes(b"other")
    with pytest.raises(ArchiveError, match="its signature is of other bytes"):
        signer(archive, [keys / "stranger.pub", keys / "shop.pub"], held)


def test_what_a_stranger_has_signed_is_refused(archive: Path, keys: Path, tmp_path: Path) -> None:
    sign(archive, keys / "stranger.pem")
    with pytest.raises(ArchiveError, match=r"signed by nobody who is trusted \(.*shop\.pub\)"):
        signer(archive, [keys / "shop.pub"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArchiveError, match="empty is empty"):
        signer(archive, [tmp_path / "empty"])


def test_what_nobody_has_signed_is_refused(archive: Path, keys: Path) -> None:
    with pytest.raises(ArchiveError, match=r"is not signed: small\.mar\.sig can't be read") as told:
        signer(archive, [keys / "shop.pub"])
    assert "marsmith sign" in told.value.hint


def test_what_is_not_sound_is_not_signed(archive: Path, keys: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(ArchiveError, match="not a sound model archive"):
        sign(archive, keys / "shop.pem")
    assert not bundle_of(archive).exists()


def test_another_version_has_no_signature_of_the_old_one(archive: Path, keys: Path) -> None:
    sign(archive, keys / "shop.pem")
    files = good(archive.with_name("canary")) | {"model.pt": b"another"}
    archive.write_bytes(written(summed(files)))
    with pytest.raises(ArchiveError, match="its signature is of other bytes"):
        signer(archive, [keys / "shop.pub"])


def statement(archive: Path, resources: object) -> bytes:
    """The archive's bundle, but for what it says to be of."""
    bundle = json.loads(bundle_of(archive).read_bytes())
    said = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    said["predicate"]["resources"] = resources
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(said).encode()).decode()
    return json.dumps(bundle).encode()


def signed(bundle: bytes) -> tuple[str, bytes, bytes]:
    """What a signature is of, and the signature: the last letters of base64 have bits to spare."""
    envelope = json.loads(bundle)["dsseEnvelope"]
    payload, (one,) = base64.b64decode(envelope["payload"]), envelope["signatures"]
    return envelope["payloadType"], payload, base64.b64decode(one["sig"])


def test_a_broken_signature_is_an_error_and_no_traceback(archive: Path, keys: Path) -> None:
    sign(archive, keys / "shop.pem")
    whole = bundle_of(archive).read_bytes()
    random_ = random.Random(1)
    broken = [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"{}", b" " * (1 << 20) + whole]
    broken += [statement(archive, []), statement(archive, [{}]), statement(archive, 3)]
    broken += [whole[: random_.randrange(len(whole))] for _ in range(20)]
    for _ in range(60):
        place = random_.randrange(len(whole))
        broken.append(
            whole[:place] + bytes([whole[place] ^ 1 << random_.randrange(7)]) + whole[place + 1 :]
        )
    for data in broken:
        bundle_of(archive).write_bytes(data)
        try:
            found = signer(archive, [keys / "shop.pub"])
        except ArchiveError as error:
            told = error.message
            continue
        assert found == keys / "shop.pub"  # a letter of what isn't signed: the name of a key
        assert signed(data) == signed(whole)
    assert "small.mar" in told


@pytest.mark.parametrize("wrong", ["none", "text", "public", "rsa", "locked"])
def test_a_key_that_can_not_sign_is_told_first(
    wrong: str, archive: Path, keys: Path, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = tmp_path / "key"
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    if wrong == "text":
        key.write_text("no key")
    if wrong == "public":
        key.write_bytes((keys / "shop.pub").read_bytes())
    if wrong == "rsa":
        made = rsa.generate_private_key(65537, 2048)
        key.write_bytes(made.private_bytes(*form, serialization.NoEncryption()))
    if wrong == "locked":
        lock = serialization.BestAvailableEncryption(b"secret")
        key.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(*form, lock))
    with pytest.raises(MarsmithError, match="is no private key that can sign") as told:
        signing.usable(key)
    assert "openssl ecparam" in told.value.hint
    sign(archive, keys / "shop.pem")
    with pytest.raises(MarsmithError, match=r"is no public key|nobody who is trusted"):
        signer(archive, [key if wrong != "public" else keys / "stranger.pub"])


def upstream(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_the_tool_of_openssf_and_ours_verify_each_other(archive: Path, keys: Path) -> None:
    bundle = bundle_of(archive)
    verify = ("verify", "key", archive, "--signature", bundle, "--public_key")
    sign(archive, keys / "shop.pem")
    assert upstream(*verify, keys / "shop.pub").returncode == 0
    assert upstream(*verify, keys / "stranger.pub").returncode != 0
    bundle.unlink()
    said = ("sign", "key", archive, "--signature", bundle, "--private_key", keys / "shop.pem")
    assert upstream(*said).returncode == 0
    assert signer(archive, [keys / "shop.pub"]) == keys / "shop.pub"
    with pytest.raises(ArchiveError, match="nobody who is trusted"):
        signer(archive, [keys / "stranger.pub"])
