"""What an archive says of how it is served."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from handlers import cpu
from marsmith.errors import ArchiveError
from marsmith.serving.host import memory, settings


def archive(folder: Path, config: str | None) -> Path:
    path = folder / "m.mar"
    with zipfile.ZipFile(path, "w") as opened:
        model = {"modelName": "m", "modelVersion": "2.1", "handler": "image_classifier"}
        model |= {} if config is None else {"configFile": "model-config.yaml"}
        opened.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": model}))
        if config is not None:
            opened.writestr("model-config.yaml", config)
    return path


def test_an_archive_of_ours_says_it_all(digits_archive: Path) -> None:
    read = settings.read("digits", digits_archive)
    assert (read.name, read.version, read.reads_forms) == ("digits", "1.0", True)
    assert read.max_body_bytes == 20_971_520
    assert read.at_once > 1


def test_what_is_said_is_taken(tmp_path: Path) -> None:
    config = "batchSize: 4\nminWorkers: 3\nmaxWorkers: 9\njobQueueSize: 100\nresponseTimeout: 5\n"
    config += "front: {max_body_bytes: 10, queue_timeout_s: 0.5}\n"
    read = settings.read("m", archive(tmp_path, config))
    assert (read.version, read.at_once, read.most) == ("2.1", 24, 100)
    assert (read.max_body_bytes, read.queue_timeout_s) == (10, 0.5)
    assert read.response_timeout_s == 2 * 5 + settings.SPARE_S
    assert read.reads_forms


@pytest.mark.parametrize("number", [".inf", ".nan", "99999999999", "1.0e+300", "-1", "true"])
def test_what_nobody_could_count_or_wait_for_is_as_if_it_was_not_said(
    tmp_path: Path, number: str
) -> None:
    keys = ("batchSize", "minWorkers", "jobQueueSize", "responseTimeout")
    config = "".join(f"{key}: {number}\n" for key in keys)
    config += f"front: {{max_body_bytes: {number}, queue_timeout_s: {number}}}\n"
    assert settings.read("m", archive(tmp_path, config)) == settings.read(
        "m", archive(tmp_path, "front: {}\n")
    )


def test_what_a_handler_of_ours_says_of_json_is_taken(tmp_path: Path) -> None:
    handler = "handler: {max_json_bytes: 99}\n"
    assert (
        settings.read("m", archive(tmp_path, f"front: {{openai: true}}\n{handler}")).max_json_bytes
        == 99
    )
    # Whatever the handler of somebody else's means by it.
    assert settings.read("m", archive(tmp_path, handler)).max_json_bytes is None


@pytest.mark.parametrize(
    ("cores", "most", "free", "expected"),
    [
        (1, 4, 10**12, 1),
        (4, 4, 10**12, 4),
        (16, 4, 10**12, 4),
        (4, 9, 1_300_000_000, 2),
        (4, 4, 0, 1),
    ],
)
def test_a_worker_for_each_core_as_far_as_memory_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, most: int, free: int, expected: int
) -> None:
    monkeypatch.setattr(cpu, "cores", lambda: cores)
    monkeypatch.setattr(memory, "free", lambda: free)
    config = f"batchSize: 8\nmaxWorkers: {most}\nfront: {{worker_per_core: true}}\n"
    read = settings.read("m", archive(tmp_path, config))
    assert (read.workers, read.at_once) == (expected, 2 * 8 * expected)


@pytest.mark.parametrize("config", [None, "", "batchSize: x\nminWorkers: true\nfront: 3"])
def test_what_is_not_said_is_as_usual(tmp_path: Path, config: str | None) -> None:
    read = settings.read("m", archive(tmp_path, config))
    assert (read.at_once, read.most, read.queue_timeout_s) == (2, 256, 120.0)
    assert read.version == "2.1"
    assert not read.reads_forms


@pytest.mark.parametrize("config", ["[]", "a: ["])
def test_a_configuration_that_torchserve_would_ignore_is_refused(
    tmp_path: Path, config: str
) -> None:
    with pytest.raises(ArchiveError, match=r"model-config\.yaml is no"):
        settings.read("m", archive(tmp_path, config))


def test_no_more_is_given_to_torchserve_than_its_queue_holds() -> None:
    assert settings.at_once(64, 4, 100) == 100
    assert settings.at_once(8, 2, 256) == 32
    assert settings.at_once(8, 0, 256) == 16
    assert settings.at_once(1, 1, 1) == 1
