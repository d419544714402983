"""What a jar bundles is read off the jar."""

from __future__ import annotations

import importlib.metadata
import re
import zipfile
from pathlib import Path

import pytest

from marsmith.doctor import jar, rules
from marsmith.errors import ServerError


def test_the_installed_jar_says_its_versions() -> None:
    version = importlib.metadata.version("torchserve")
    found = jar.versions(jar.find_jar(), version)
    assert found["torchserve"] == version
    assert {*jar.SAID_IN, "snakeyaml"} <= set(found)
    assert found["netty"] == "4.1.53"
    assert found["gson"] == "2.10.1"  # its build asked for another: a library of it had its way


def test_another_torchserve_is_asked_for_what_its_jar_says_alone(tmp_path: Path) -> None:
    file = tmp_path / "model-server.jar"
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("META-INF/io.netty.versions.properties", "netty-common.version=4.1.9.Final\n")
    assert jar.versions(file, "0.11.1") == {"torchserve": "0.11.1", "netty": "4.1.9"}
    with pytest.raises(ServerError, match=r"no org/pytorch/serve"):
        jar.settings_strings(file)


def test_what_is_no_jar_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.jar").write_bytes(b"no jar")
    with pytest.raises(ServerError, match="can't be read"):
        jar.versions(tmp_path / "x.jar", "0.12.0")


def test_every_setting_that_torchserve_reads_is_known() -> None:
    strings = set(jar.settings_strings(jar.find_jar()))
    assert rules.KNOWN - rules.OF_THE_LAUNCHER - {"load_models"} <= strings
    # What else looks like a setting is a name of something else.
    others = {"ts_request_sequence_id", "ts_request_sequence_start", "ts_request_sequence_end"}
    named = {each for each in strings if re.fullmatch(r"[a-z]+(_[a-z]+)+", each)}
    assert named - {"torchelastic_ts"} - others <= rules.KNOWN
