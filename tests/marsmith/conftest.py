"""Fixtures for tests that run TorchServe: tiny archives, a private state folder, one server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from marsmith.serving import server
from marsmith.serving.host.processes import family
from marsmith.serving.host.run_folder import ServerInfo, make_temp_dir

HANDLER = '''
import json
import os
import time


class Tiny:
    """Answers with its own pid and what it was sent; fails at load the way it is told to."""

    def initialize(self, context):
        fail = context.model_yaml_config.get("fail")
        self.config = context.model_yaml_config
        self.version = context.manifest["model"]["modelVersion"]
        if fail == "runtime":
            raise RuntimeError("weights.bin is not there")
        if fail == "import":
            import no_such_engine
        if fail == "exit":
            os._exit(9)

    def handle(self, data, context):
        if context.get_request_header(0, "describe"):
            example = {"content_type": "application/json", "body_base64": "e30="}
            return [json.dumps({"example": example} if self.config["example"] else {}).encode()]
        time.sleep(self.config["slow"])
        if self.config["error"]:
            raise ValueError("as it was told to")
        return [self.answer(row, context, index) for index, row in enumerate(data)]

    def answer(self, row, context, index):
        body = row.get("body")
        if isinstance(body, dict) and "sleep" in body:
            time.sleep(body["sleep"])
        if body == {"refuse": True}:
            context.set_response_status(code=422, phrase="Unprocessable", idx=index)
            return json.dumps({"error": "no such thing", "hint": "send another"}).encode()
        if isinstance(body, (bytes, bytearray)):
            context.set_response_content_type(index, "application/octet-stream")
            return bytes(body)
        fields = {key: self.text(value) for key, value in row.items() if key != "body"}
        headers = context.get_all_request_header(index).items()
        sent = {name.lower(): value for name, value in headers}
        about = {"pid": os.getpid(), "fields": fields, "version": self.version}
        about |= {name: sent.get(name) for name in ("accept", "explain")}
        return json.dumps({"body": body, **about}).encode()

    def text(self, value):
        return value.decode() if isinstance(value, (bytes, bytearray)) else value
'''

ARCHIVER = "from model_archiver.model_packaging import generate_model_archive as g; g()"

MakeArchive = Callable[..., Path]


@pytest.fixture(scope="session")
def make_tiny_archive(tmp_path_factory: pytest.TempPathFactory) -> MakeArchive:
    """Make archives without a model: `make(name)`; `fail=` tells it how to fail at load.

    `slow=` seconds are added to every answer, and `error=` makes every answer an error;
    `per_core=` leaves the number of its workers, at most 2, to the machine. With an `example=` it
    tells how it can be asked: a server then warms it up, which takes seconds.
    """

    def make(
        name: str, fail: str | None = None, folder: Path | None = None, version: str = "1.0",
        slow: float = 0.0, error: bool = False, response_timeout_s: int = 60,
        per_core: bool = False, example: bool = False,
    ) -> Path:  # fmt: skip
        work = tmp_path_factory.mktemp(name)
        (work / "tiny_handler.py").write_text(HANDLER)
        config = {
            "minWorkers": 1,
            "maxWorkers": 2 if per_core else 1,
            "batchSize": 1,
            "maxBatchDelay": 1,
        }
        config |= {"responseTimeout": response_timeout_s, "startupTimeout": 60}
        lines = [f"{key}: {value}" for key, value in config.items()]
        lines += [f"fail: {fail}"] if fail else []
        lines += ["front: {worker_per_core: true}"] if per_core else []
        lines += [f"slow: {slow}", f"error: {str(error).lower()}"]
        lines += [f"example: {str(example).lower()}"]
        (work / "model-config.yaml").write_text("\n".join(lines))
        arguments = (
            f"--model-name {name} --version {version} --handler tiny_handler.py --export-path ."
        )
        command = [sys.executable, "-c", ARCHIVER, *arguments.split()]
        command += ["--config-file", "model-config.yaml"]
        environment = {**os.environ, "TMPDIR": str(work)}
        subprocess.run(command, cwd=work, env=environment, check=True)
        if folder is None:
            return work / f"{name}.mar"
        return (work / f"{name}.mar").rename(folder / f"{name}.mar")

    return make


@pytest.fixture(scope="session")
def tiny_server(make_tiny_archive: MakeArchive, server_state: Path) -> Iterator[ServerInfo]:
    """Run one server with the model `tiny`; tests leave it as they found it."""
    info = server.serve([make_tiny_archive("tiny", example=True)], port=0)
    try:
        yield info
    finally:
        server.stop(info)


@pytest.fixture
def own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A state folder that no other test's server lives in, with a path that not all can read."""
    monkeypatch.setenv("MARSMITH_STATE", str(tmp_path / "own stäte"))
    return tmp_path / "own stäte"


@pytest.fixture
def temp_dirs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Note the temporary folders that servers get."""
    made: list[Path] = []

    def noted() -> Path:
        made.append(make_temp_dir())
        return made[-1]

    monkeypatch.setattr("marsmith.serving.host.run_folder.make_temp_dir", noted)
    return made


@pytest.fixture
def assert_nothing_is_left(temp_dirs: list[Path]) -> Callable[[], None]:
    """Fail if a process or a file of the servers of this test is still there."""

    def check() -> None:
        assert temp_dirs
        for folder in temp_dirs:
            assert family(folder) == []
            assert not folder.exists()

    return check
