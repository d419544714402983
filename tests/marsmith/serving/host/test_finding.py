"""Which server is meant, of those that run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from marsmith.errors import ServerError
from marsmith.serving.host import finding
from marsmith.serving.host.run_folder import ServerInfo


def one(port: int, folder: Path) -> ServerInfo:
    address = f"http://127.0.0.1:{port}"
    return ServerInfo(
        port=port, inference_address=address, management_address=address, metrics_address=address,
        front=False, pid=1, create_time=time.time(), grace_s=1.0,
        temp_dir=folder / "marsmith-x", run_dir=folder / str(port), models=("m",),
    )  # fmt: skip


def test_one_that_runs_alone_need_not_be_named(tmp_path: Path) -> None:
    alone = one(8080, tmp_path)
    assert finding.only([alone], None) is alone
    assert finding.only([alone, one(8081, tmp_path)], 8080) is alone


def test_of_several_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"several .*port 8080 \(m\); port 8081") as caught:
        finding.only([one(8080, tmp_path), one(8081, tmp_path)], None)
    assert "--port, or port=" in caught.value.hint


def test_none_is_none(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"no server of marsmith runs$") as caught:
        finding.only([], None)
    assert "marsmith serve" in caught.value.hint
    with pytest.raises(ServerError, match="runs on port 1; there is: port 8080"):
        finding.only([one(8080, tmp_path)], 1)


def test_one_without_a_front_is_asked_at_its_own_address(tmp_path: Path) -> None:
    found = one(8080, tmp_path)
    assert finding.addresses(found) == (
        found.inference_address, found.management_address, found.key_file,
    )  # fmt: skip
