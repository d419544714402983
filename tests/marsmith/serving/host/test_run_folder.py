"""What servers keep on disk, without a server."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import psutil
import pytest

from marsmith.errors import ServerError
from marsmith.serving import server
from marsmith.serving.host import run_folder
from marsmith.serving.host.run_folder import ServerInfo, read_infos, write_info


@pytest.fixture
def state(own_state: Path, tmp_path: Path) -> Path:
    """A state folder with what two servers left: another process has the first one's pid."""
    now = psutil.Process().create_time()
    for port, pid, created in ((21000, os.getpid(), now - 60), (21010, 2**22 + 5, 0.0)):
        run_dir, temp_dir = own_state / "servers" / str(port), tmp_path / f"marsmith-{port}"
        run_dir.mkdir(parents=True)
        temp_dir.mkdir()
        write_info(
            ServerInfo(
                port=port,
                inference_address=f"http://127.0.0.1:{port}",
                management_address=f"unix:{temp_dir}/management",
                metrics_address=f"http://127.0.0.1:{port}",
                front=True,
                pid=pid,
                create_time=created,
                grace_s=0.0,
                temp_dir=temp_dir,
                run_dir=run_dir,
                models=("tiny",),
            )
        )
    return own_state


def test_what_a_dead_server_left_is_cleaned_up(state: Path, tmp_path: Path) -> None:
    assert [info.port for info in read_infos()] == [21000, 21010]
    with pytest.raises(ServerError) as caught:
        server.running()
    assert "marsmith serve" in caught.value.hint
    assert read_infos() == []
    assert list(tmp_path.glob("marsmith-*")) == []


@pytest.mark.parametrize("said", ['{"temp_dir": "/"}', "{", "[]"])
def test_a_file_that_was_not_written_here_is_no_server(state: Path, said: str) -> None:
    (state / "servers" / "21010" / "server.json").write_text(said)
    assert [info.port for info in read_infos()] == [21000]


def test_a_file_can_not_claim_just_any_folder(state: Path) -> None:
    info, _ = read_infos()
    with pytest.raises(ValueError, match="not a temporary folder"):
        ServerInfo.model_validate({**info.model_dump(), "temp_dir": "/"})


def test_a_folder_is_one_servers_while_it_starts(state: Path) -> None:
    run_dir = state / "servers" / "21000"
    with run_folder.locked(run_dir):
        assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
        with (
            pytest.raises(ServerError, match="is starting a server on port 21000"),
            run_folder.locked(run_dir),
        ):
            pass
    with run_folder.locked(run_dir):
        pass


def test_a_folder_is_filled_anew_and_keeps_its_logs(state: Path, tmp_path: Path) -> None:
    run_dir, archive = state / "servers" / "21000", tmp_path / "größe.mar"
    archive.touch()
    (run_dir / "key_file.json").touch()
    (run_dir / "logs").mkdir()
    (run_dir / "logs" / "ts.log").touch()
    settings = {"inference_address": "unix:/tmp/marsmith-x/inference"}
    for name in ("one", "other"):
        run_folder.fill(run_dir, {name: archive}, settings)
    store = run_dir / "torchserve" / "store"
    assert [each.name for each in store.iterdir()] == ["other.mar"]
    assert (store / "other.mar").samefile(archive)
    assert (run_dir / "logs" / "ts.log").exists()
    assert not (run_dir / "key_file.json").exists()
    lines = (store.parent / "config.properties").read_text().splitlines()
    assert "inference_address=unix:/tmp/marsmith-x/inference" in lines
    names = [line.partition("=")[0] for line in lines if "=" in line and not line.startswith("#")]
    assert len(names) == len(set(names)), "a setting that is said twice has the last word"
    assert {"model_store", "disable_token_authorization"} & set(names)


def test_a_socket_has_room_in_a_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    made = run_folder.make_temp_dir()
    try:
        assert len(str(made)) <= run_folder.LONGEST_TEMP
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    finally:
        made.rmdir()
