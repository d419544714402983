"""A registry that asks for a name and a password, and where a login has written them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from marsmith.archive import modelpack
from marsmith.errors import MarsmithError
from tests.support import registries

pytestmark = pytest.mark.slow
PASSWORDS = "ann:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n"  # secret


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registries.running(tmp_path_factory.mktemp("registry"), PASSWORDS) as found:
        yield found


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever runs the tests may be logged in somewhere."""
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def log_in(file: Path, address: str, password: str) -> None:
    """Write what `podman login` writes, which is what `docker login` does without a helper."""
    said = base64.b64encode(f"ann:{password}".encode()).decode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"auths": {address: {"auth": said}}}))


def push(archive: Path, address: str, store: Path) -> None:
    """Push an archive, and see it come back."""
    pushed = modelpack.push(archive, f"{address}/shop/digits:1.0")
    found, _ = modelpack.pull(pushed.reference, store)
    assert found.read_bytes() == archive.read_bytes()


@pytest.mark.parametrize(
    ("variable", "file"),
    [
        ("", "run/containers/auth.json"),
        ("", "home/.docker/config.json"),
        ("REGISTRY_AUTH_FILE", "mine.json"),
        ("DOCKER_CONFIG", "elsewhere/config.json"),
    ],
)
def test_a_login_is_found_where_it_was_written(
    address: str, digits_archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    variable: str, file: str,
) -> None:  # fmt: skip
    written = tmp_path / file
    log_in(written, address, "secret")
    if variable:
        monkeypatch.setenv(
            variable, str(written.parent if written.name == "config.json" else written)
        )
    push(digits_archive, address, tmp_path / "store")


@pytest.mark.parametrize("password", ["", "wrong"])
def test_who_has_no_login_is_told_how_to_get_one(
    address: str, digits_archive: Path, tmp_path: Path, password: str
) -> None:
    if password:
        log_in(tmp_path / "run/containers/auth.json", address, password)
    with pytest.raises(MarsmithError, match=r"(?i)unauthorized") as caught:
        modelpack.push(digits_archive, f"{address}/shop/other:1.0")
    assert "podman login" in caught.value.hint
    with pytest.raises(MarsmithError, match="401"):
        modelpack.pull(f"{address}/shop/other:1.0", tmp_path / "store")
    assert not (tmp_path / "store").exists()
