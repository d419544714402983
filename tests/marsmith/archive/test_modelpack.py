from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from marsmith.archive import modelpack, registry, signing
from marsmith.errors import ArchiveError, MarsmithError
from marsmith.serving.host.ports import free_ports
from tests.support import registries, signing_keys
from tests.support.command import marsmith


@pytest.mark.parametrize(
    "said", ["digits", "https://example/x", "example/Digits:1", "example/digits@sha256:abc", ""]
)
def test_what_names_nothing_is_refused(said: str) -> None:
    with pytest.raises(MarsmithError, match="names nothing in a registry"):
        registry.Registry(said)


def test_a_registry_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(MarsmithError, match=f"127.0.0.1:{port}/digits"):
        modelpack.pull(f"127.0.0.1:{port}/digits:1", tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- A real registry --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    with registries.running(root) as found:
        yield found


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return signing_keys.write_keys(tmp_path_factory.mktemp("keys"), "shop")


@pytest.fixture(scope="module")
def pushed(
    address: str, digits_archive: Path, keys: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> modelpack.Pushed:  # fmt: skip
    archive = tmp_path_factory.mktemp("signed") / "digits.mar"
    shutil.copy2(digits_archive, archive)
    signing.sign(archive, keys[0])
    return modelpack.push(archive, f"{address}/shop/digits:1.0")


@pytest.mark.slow
def test_an_archive_comes_back_as_it_went_with_its_signature(
    pushed: modelpack.Pushed, address: str, keys: tuple[Path, Path], digits_archive: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    archive, named = modelpack.pull(f"{address}/shop/digits:1.0", tmp_path)
    assert named == pushed.reference
    assert archive.name == "digits.mar"
    assert archive.read_bytes() == digits_archive.read_bytes()
    assert signing.signer(archive, [keys[1]]) == keys[1]
    assert modelpack.pull(pushed.reference, tmp_path / "again")[1] == named


@pytest.mark.slow
def test_it_lies_there_as_modelpack_says_and_its_bill_refers_to_it(
    pushed: modelpack.Pushed, address: str
) -> None:
    asked = {"headers": {"Accept": registry.MANIFEST}, "timeout": 30}
    base, digest = f"http://{address}/v2/shop/digits", pushed.reference.rpartition("@")[2]
    manifest = httpx.get(f"{base}/manifests/1.0", **asked).json()  # type: ignore[arg-type]
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    config = httpx.get(f"{base}/blobs/{manifest['config']['digest']}", timeout=30).json()
    assert config["descriptor"]["name"] == "digits"
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in manifest["layers"]]
    there = registry.Registry(pushed.reference)
    bill = there.referring(digest, modelpack.BILL)
    assert bill is not None
    assert json.loads(bill)["metadata"]["component"]["name"] == "digits"
    assert there.referring(digest, "application/of.nothing") is None


@pytest.mark.slow
def test_what_somebody_changes_in_the_registry_is_refused(
    pushed: modelpack.Pushed, address: str, root: Path, tmp_path: Path
) -> None:
    manifest = json.loads(
        registry.Registry(pushed.reference).manifest(pushed.reference.rpartition("@")[2])
    )
    digest = manifest["layers"][0]["digest"].removeprefix("sha256:")
    (blob,) = (root / "data").rglob(f"{digest}/data")
    sound = blob.read_bytes()
    try:
        blob.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        with pytest.raises(ArchiveError, match="other bytes"):
            modelpack.pull(f"{address}/shop/digits:1.0", tmp_path)
        assert list(tmp_path.iterdir()) == []
    finally:
        blob.write_bytes(sound)
    modelpack.pull(f"{address}/shop/digits:1.0", tmp_path)


@pytest.mark.slow
def test_what_is_not_there_is_said_by_name(
    pushed: modelpack.Pushed, address: str, digits_archive: Path, tmp_path: Path
) -> None:
    with pytest.raises(MarsmithError, match=r"shop/digits.*404"):
        modelpack.pull(f"{address}/shop/digits:none", tmp_path)
    with pytest.raises(MarsmithError, match="names no tag"):
        modelpack.push(digits_archive, f"{address}/shop/digits")


@pytest.mark.slow
def test_a_command_takes_what_lies_in_a_registry_by_its_digest(
    pushed: modelpack.Pushed, digits_archive: Path, keys: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told = marsmith("verify", pushed.reference, "--trust", keys[1]).stdout
    assert hashlib.sha256(digits_archive.read_bytes()).hexdigest() in told.replace("\n", "")
    assert "signed by" in told
    changed = pushed.reference[:-1] + ("0" if pushed.reference[-1] != "0" else "1")
    refused = marsmith("verify", changed, check=False)
    assert refused.returncode == 1
    assert "shop/digits" in refused.stderr
