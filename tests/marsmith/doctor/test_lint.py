"""A configuration of the user's own: what it gets wrong, and what it does without saying so."""

from __future__ import annotations

from pathlib import Path

import pytest

from marsmith.doctor.lint import check
from marsmith.shipped import shipped

SOUND = """\
inference_address=http://127.0.0.1:8080
management_address=http://localhost:8081
metrics_address=unix:/tmp/metrics
allowed_urls=https://models.example.org/.*
token_expiration_min=525600
default_workers_per_model=1
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TS_CONFIG_FILE", raising=False)
    return tmp_path / "config.properties"


def found(config: Path, *lines: str) -> list[tuple[str, str]]:
    config.write_text(SOUND + "\n".join(lines), encoding="latin-1")
    return [(each.level, each.what) for each in check(config) if each.level != "good"]


def test_a_sound_one_has_nothing_wrong(config: Path) -> None:
    assert found(config) == []
    assert [each.what for each in check(config)] == ["nothing is wrong with it"]


def test_the_one_that_ships_has_nothing_to_mend(config: Path) -> None:
    assert [each.what for each in check(shipped("config.properties")) if each.level == "bad"] == []


def test_torchserve_s_own_defaults_are_not_sound(config: Path) -> None:
    config.write_text("")
    levels = {each.what.partition(" ")[0]: each.level for each in check(config)}
    assert levels == {"allowed_urls": "bad", "keys": "note", "each": "note"}


@pytest.mark.parametrize(
    ("line", "level", "words"),
    [
        ("management_adress=x", "bad", "line 7: management_adress is nothing that"),
        ("enable_model_api=yes", "bad", "'yes' is taken for false"),
        ("disable_token_authorization=true ", "bad", "are part of the value 'true '"),
        ("job_queue_size=1e3", "bad", "'1e3' is no whole number"),
        ("metrics_mode=prometeus", "bad", "'prometeus' is taken for log"),
        ("job_queue_size=$$NOT_SET_HERE$$", "note", "the environment has no NOT_SET_HERE"),
        ("model_store=Modelle f\u00fcr", "note", "Latin-1"),
        ("inference_address=http://127.0.0.1:80", "note", "is on line 1, too"),
        ("management_address=http://0.0.0.0:8081", "bad", "changes what is served"),
        ("metrics_address=http://0.0.0.0:8082", "bad", "metrics ask for no key"),
        ("inference_address=http://0.0.0.0:8080", "bad", "can be read on their way"),
        ("inference_address=https://0.0.0.0:8443", "note", "netty reads what strangers send"),
        ("inference_address=https://0.0.0.0:8443", "bad", "https without a certificate"),
        ("inference_address=http://[::1]:8080", "bad", "is no address"),
        ("inference_address=http://127.0.0.1:65535", "bad", "is no address"),
        ("inference_address=http://127.0.0.1", "note", "names no port"),
        ("grpc_management_address=0.0.0.0", "bad", "gRPC can be reached from outside"),
        ("allowed_urls=file://.*|http(s)?://.*", "bad", "allows every URL"),
        ("allowed_urls=https://a/.*,.*", "bad", "allows every URL"),
        ("allowed_urls=https://(", "bad", "is no pattern"),
        ("disable_token_authorization=true", "bad", "nobody needs a key"),
        ("enable_model_api=True", "bad", "makes it run any archive"),
        ("install_py_dep_per_model=true", "bad", "installs packages"),
        ("limit_max_image_pixels=false", "bad", "unpack to gigabytes"),
        ("enable_envvars_config=true", "note", "overrides this file"),
        ('model_snapshot={"name": "startup.cfg"}', "note", "is a snapshot"),
        ("service_envelope=kserve", "note", "first request of a batch"),
        ("default_response_timeout=60", "note", "120 s in spite of it"),
        ("vmargs=-agentlib:jdwp=transport=dt_socket,address=*:5005", "bad", "debuggers"),
        ("models={", "bad", "models is no JSON"),
        ('models={"a": {"1.0": {"batchSize": 0}}}', "note", "models: a: batchSize: 0 is ignored"),
        (
            'models={"a": {"1.0": {"minWorkers": 4, "maxWorkers": 2}}}', "bad",
            "minWorkers 4 is above maxWorkers 2",
        ),
    ],
)  # fmt: skip
def test_what_a_line_does_is_said(config: Path, line: str, level: str, words: str) -> None:
    said = found(config, line)
    assert any(each == level and words in what for each, what in said), said


def test_everything_that_is_to_be_mended_says_how(config: Path) -> None:
    found(config, "managment_address=1", "metrics_mode=x", "models=[1]", "enable_model_api=true")
    assert [each.what for each in check(config) if not each.hint] == []
    assert next(each.hint for each in check(config) if "managment" in each.what).startswith(
        "management_address"
    )


def test_where_it_lies_counts(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config.parent / "logs" / "config").mkdir(parents=True)
    (config.parent / "logs" / "config" / "20260101-shutdown.snapshot.cfg").touch()
    monkeypatch.setenv("TS_CONFIG_FILE", "/elsewhere/config.properties")
    config.touch()
    config.chmod(0o666)
    said = " ".join(what for _, what in found(config))
    assert "snapshots" in said
    assert "TS_CONFIG_FILE is /elsewhere" in said
    assert "everybody may write to it" in said
