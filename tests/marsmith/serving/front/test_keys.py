"""Keys: named, hashed, for some scopes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from marsmith.errors import MarsmithError
from marsmith.serving.front import keys

pytestmark = pytest.mark.usefixtures("own_state")


def test_a_key_is_kept_as_its_digest_alone(own_state: Path) -> None:
    made = keys.add("grafana", ["metrics", "predict"], rate=5)
    (kept,) = keys.kept()
    assert (kept.name, kept.scopes, kept.rate) == ("grafana", ("predict", "metrics"), 5)
    assert kept.sha256 == keys.digest(made)
    file = own_state / "keys.json"
    assert made not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_keys_are_added_and_revoked() -> None:
    assert keys.kept() == ()
    assert keys.add("one") != keys.add("two")
    keys.revoke("one")
    assert [key.name for key in keys.kept()] == ["two"]
    with pytest.raises(MarsmithError, match="no key named 'one'; there are: two"):
        keys.revoke("one")


@pytest.mark.parametrize("name", ["", "local", "a b", "_", "-x", "a" * 65, "a\nb"])
def test_a_name_that_can_not_be_is_refused(name: str) -> None:
    with pytest.raises(MarsmithError, match="can't be named"):
        keys.add(name)
    assert keys.kept() == ()


def test_what_is_there_or_unknown_is_refused() -> None:
    keys.add("one")
    with pytest.raises(MarsmithError, match="a key named 'one' already"):
        keys.add("one")
    with pytest.raises(MarsmithError, match="no scope 'admin'; there are: predict, explain"):
        keys.add("two", ["admin"])


def test_a_file_that_can_not_be_read_is_not_taken_for_no_keys(own_state: Path) -> None:
    own_state.mkdir()
    (own_state / "keys.json").write_text("{")
    with pytest.raises(MarsmithError, match=r"can't be read"):
        keys.kept()
    with pytest.raises(MarsmithError, match=r"can't be read"):
        keys.add("one")
    assert (own_state / "keys.json").read_text() == "{"
