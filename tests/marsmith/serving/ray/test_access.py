from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from marsmith.serving.front import keys
from marsmith.serving.ray import access
from marsmith.serving.ray.access import Access
from marsmith.serving.ray.refusals import RefusedError


@pytest.fixture
def let_in(server_state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Access:
    monkeypatch.setenv("MARSMITH_STATE", str(tmp_path))
    monkeypatch.setattr(access, "READ_S", -1.0)  # at each request
    return Access(keys.keys_file())


def status(let_in: Access, said: Sequence[str], verb: str = "predict") -> int:
    try:
        let_in.check(said, verb)
    except RefusedError as refusal:
        return refusal.status
    return 200


def test_a_key_is_for_its_scopes_until_it_is_revoked(let_in: Access) -> None:
    assert status(let_in, ["Bearer x"]) == 401  # there is no file yet
    key = keys.add("a", ["predict"])
    assert status(let_in, [f"bearer  {key}"]) == 200
    assert status(let_in, [f"Bearer {key}"], "explain") == 403
    assert status(let_in, [f"Bearer {key}", f"Bearer {key}"]) == 401
    assert status(let_in, [f"Basic {key}"]) == 401
    assert status(let_in, []) == 401
    keys.revoke("a")
    assert status(let_in, [f"Bearer {key}"]) == 401


def test_a_key_may_send_so_many_in_a_second(let_in: Access) -> None:
    said = [f"Bearer {keys.add('slow', rate=2)}"]
    assert [status(let_in, said) for _ in range(4)] == [200, 200, 429, 429]
