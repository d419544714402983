"""`marsmith doctor`, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from marsmith.cli import commands

BAD = "management_address=http://0.0.0.0:8081\nallowed_urls=(?!)\n"


def doctor(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str]:
    with pytest.raises(SystemExit) as caught:
        commands.main(["doctor", *map(str, arguments)])
    return caught.value.code, capsys.readouterr().out


def test_what_matters_comes_first_and_is_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARSMITH_STATE", str(tmp_path))
    file = tmp_path / "config.properties"
    file.write_text(BAD)
    status, told = doctor(capsys, "--config", file, "--json", "--model-store", tmp_path)
    said = json.loads(told)
    assert status == 1
    assert said["ok"] is False
    assert said["findings"][0]["part"] == str(file)
    assert said["findings"][0]["level"] == "bad"
    parts = list(dict.fromkeys(each["part"] for each in said["findings"]))
    assert parts == [str(file), "machine", "folders", "torchserve", "servers"]
    assert any("CVE-2023-43654" in each["ids"] for each in said["findings"])


def test_a_machine_that_is_fine_is_status_0_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARSMITH_STATE", str(tmp_path))
    status, told = doctor(capsys, "--model-store", tmp_path)
    assert status == 0
    assert "CVE-2025-58056, netty 4.1.53: closed by the front" in told
    assert told.splitlines()[-1].startswith("0 to mend, ")


def test_a_configuration_that_is_not_there_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(capsys, "--config", tmp_path / "none.properties") == (1, "")
