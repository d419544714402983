from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from marsmith.archive import reading, remote
from marsmith.errors import ArchiveError, MarsmithError
from marsmith.serving.host.ports import free_ports
from tests.support.certificates import certify
from tests.support.http_servers import sending

DIGEST = "a" * 64


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return remote.folder()


@pytest.mark.parametrize(
    "said",
    [
        "oci://example/digits:1.0",
        "oci://example/digits",
        f"oci://example/digits@sha256:{DIGEST[:-1]}",
        "https://example/digits.mar",
        f"http://example/digits.mar#sha256={DIGEST}",
        f"https://example/digits.mar#sha512={DIGEST}",
    ],
)
def test_a_place_without_a_digest_is_no_archive(said: str) -> None:
    with pytest.raises(ArchiveError, match="doesn't say which bytes it means"):
        reading.check(said if isinstance(said, reading.Named) else Path(said))


def test_what_cannot_be_had_is_a_sentence_and_leaves_nothing(cache: Path) -> None:
    (port,) = free_ports(1)
    for said in (
        f"https://127.0.0.1:{port}/digits.mar#sha256={DIGEST}",
        f"oci://127.0.0.1:{port}/digits@sha256:{DIGEST}",
    ):
        with pytest.raises(MarsmithError, match=f"127.0.0.1:{port}"):
            reading.Named.of(said)
    assert not cache.exists() or list(cache.iterdir()) == []


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder whose certificate is trusted."""
    folder = tmp_path / "tls"
    folder.mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "cert.pem"))
    return folder


def test_an_archive_is_taken_over_tls_once(
    digits_archive: Path, trusted: Path, cache: Path
) -> None:
    data = digits_archive.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    with sending(trusted, data) as server:
        said = f"https://{server}/digits.mar#sha256={sha256}"
        assert reading.Named.of(said).path.read_bytes() == data
    assert reading.check(Path(said)).sha256 == sha256  # the server is gone
    assert [each.name for each in cache.iterdir()] == [f"{sha256}.mar"]


def test_other_bytes_and_half_of_them_leave_nothing(trusted: Path, cache: Path) -> None:
    data = bytes(300_000)
    sha256 = hashlib.sha256(data).hexdigest()
    with (
        sending(trusted, data[1:] + b"x") as server,
        pytest.raises(ArchiveError, match="bytes of another SHA-256"),
    ):
        reading.Named.of(f"https://{server}/digits.mar#sha256={sha256}")
    with (
        sending(trusted, data, most=200_000) as server,
        pytest.raises(MarsmithError, match=f"{server}.*without sending complete"),
    ):
        reading.Named.of(f"https://{server}/digits.mar#sha256={sha256}")
    assert list(cache.iterdir()) == []


def test_a_server_of_an_unknown_authority_is_not_asked(
    tmp_path: Path, trusted: Path, cache: Path
) -> None:
    with sending(tmp_path, b"an archive") as server:
        certify(trusted)  # another's
        with pytest.raises(MarsmithError, match="certificate verify failed"):
            reading.Named.of(f"https://{server}/digits.mar#sha256={DIGEST}")
    assert not cache.exists() or list(cache.iterdir()) == []


def test_what_was_taken_is_taken_again_from_here(digits_archive: Path, cache: Path) -> None:
    sha256 = hashlib.sha256(digits_archive.read_bytes()).hexdigest()
    cache.mkdir(parents=True)
    (cache / f"{sha256}.mar").write_bytes(digits_archive.read_bytes())
    said = f"https://127.0.0.1:1/digits.mar#sha256={sha256}"
    assert reading.check(Path(said)).sha256 == sha256  # a path has one slash fewer
    (cache / f"{sha256}.mar").write_bytes(digits_archive.read_bytes()[:-1] + b"x")
    with pytest.raises(ArchiveError):
        reading.check(Path(said))


def test_a_file_is_where_it_was(tmp_path: Path) -> None:
    for said in ("digits.mar", "/srv/oci/digits.mar", "https.mar", "oci:digits.mar"):
        assert reading.Named.of(said).path == Path(said)
