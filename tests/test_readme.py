"""The README's commands and recipes, run as they stand."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from PIL import Image

from examples.digits import held_out
from handlers import tasks
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.recipe import reading
from marsmith.serving.host.run_folder import ServerInfo
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def block(language: str, containing: str) -> str:
    """The one code block of a language that contains some words."""
    found = [
        "\n".join(line.removeprefix(indent) for line in text.splitlines())
        for indent, kind, text in BLOCK.findall(README)
        if kind == language and containing in text
    ]
    assert len(found) == 1, (containing, found)
    return found[0]


def bash(script: str, folder: Path, environment: dict[str, str] | None = None) -> str:
    """Run a script as it stands; `marsmith` and TorchServe's commands are found."""
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env={**os.environ, "PATH": path, **(environment or {})},
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_recipe_is_one(tmp_path: Path) -> None:
    (tmp_path / "my_model.yaml").write_text(block("yaml", "name: my_model"))
    (tmp_path / "labels.json").write_text('["cat", "dog"]')
    loaded = reading.load(tmp_path / "my_model.yaml")
    assert loaded.serving.batch_size == 8


@pytest.mark.parametrize("part", ["runtime: auto", "prune_structured", "source: {torchscript"])
def test_the_parts_of_recipes_are_allowed(tmp_path: Path, part: str) -> None:
    whole = yaml.safe_load(block("yaml", "name: my_model"))
    (tmp_path / "labels.json").write_text('["cat", "dog"]')
    whole.update(yaml.safe_load(block("yaml", part)))
    (tmp_path / "my_model.yaml").write_text(yaml.safe_dump(whole))
    assert reading.load(tmp_path / "my_model.yaml").name == "my_model"


def test_an_archive_packed_by_hand_answers(digits_archive: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "handlers", tmp_path / "handlers")
    with zipfile.ZipFile(digits_archive) as archive:
        archive.extract("model.pt", tmp_path)
    config = block("yaml", "task: image_classification\n  runtime")
    (tmp_path / "model-config.yaml").write_text(config)
    (tmp_path / "model_store").mkdir()
    (tmp_path / "tmp").mkdir()
    bash(block("bash", "torch-model-archiver"), tmp_path, {"TMPDIR": str(tmp_path / "tmp")})
    image, label = held_out()[0]
    with Harness(tmp_path / "model_store" / "digits.mar") as harness:
        (response,) = harness.predict([Request.raw(image)])
    assert next(iter(response.json())) == label


def test_the_settings_by_hand_are_known() -> None:
    config = yaml.safe_load(block("yaml", "task: image_classification\n  runtime"))
    tasks.find("image_classification").settings(config["handler"])


def test_the_requests_are_answered(digits_server: ServerInfo, tmp_path: Path) -> None:
    image, label = held_out()[0]
    (tmp_path / "digit.png").write_bytes(image)
    key = json.loads(digits_server.key_file.read_text())["inference"]["key"]
    environment = {"KEY": key, "ADDRESS": digits_server.inference_address}
    script = block("bash", "-T digit.png")
    script = script.replace("iVBORw0K...", base64.b64encode(image).decode())
    for command in re.split(r"^curl ", script, flags=re.MULTILINE)[1:]:
        printed = bash(f"curl --fail-with-body -s --max-time 300 {command}", tmp_path, environment)
        answer = json.loads(printed)
        assert label in json.dumps(answer)
        assert "error" not in answer


def test_an_explanation_is_a_picture(digits_server: ServerInfo, tmp_path: Path) -> None:
    (tmp_path / "digit.png").write_bytes(held_out()[0][0])
    key = json.loads(digits_server.key_file.read_text())["inference"]["key"]
    environment = {"KEY": key, "ADDRESS": digits_server.inference_address}
    command = block("bash", "/explanations/digits").replace("curl ", "curl -f --max-time 300 ")
    bash(command, tmp_path, environment)
    with Image.open(tmp_path / "heat-map.png") as picture:
        assert picture.size == (8, 8)


@pytest.mark.slow
def test_the_commands_run(digits_archive: Path, tmp_path: Path) -> None:
    """The chapter on one's own model, with digits for the model and a digit for the cat."""
    image, label = held_out()[0]
    for name in ("cat.jpg", "dog.jpg"):
        (tmp_path / name).write_bytes(image)
    (tmp_path / "model_store").symlink_to(digits_archive.parent)
    text = (ROOT / "archiver_configs" / "digits.yaml").read_text()
    (tmp_path / "my_model.yaml").write_text(text.replace("name: digits", "name: my_model"))
    own_state = {"MARSMITH_STATE": str(tmp_path / "state")}
    try:
        script = block("bash", "marsmith inspect model_store/my_model.mar")
        printed = bash(script, tmp_path, own_state)
    finally:
        bash("marsmith stop || true", tmp_path, own_state)
    assert f'{{"{label}": ' in printed


@pytest.mark.slow
def test_torchserve_alone_serves(digits_archive: Path, tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    shutil.copy(digits_archive, tmp_path / "model_store")
    shutil.copy(ROOT / "config.properties", tmp_path)
    (tmp_path / "digit.png").write_bytes(held_out()[0][0])
    start = block("bash", "torchserve --start")
    ask = """
    for attempt in $(seq 300); do
      KEY=$(python -c 'import json; print(json.load(open("key_file.json"))["inference"]["key"])' \
        2>/dev/null) && curl -s --fail --max-time 10 -H "Authorization: Bearer $KEY" \
        http://127.0.0.1:8080/predictions/digits -T digit.png && break
      sleep 1
    done
    """
    environment = {"TEMP": str(tmp_path), "TMPDIR": str(tmp_path)}
    short = {"LOG_LOCATION": str(tmp_path / "logs"), "METRICS_LOCATION": str(tmp_path / "logs")}
    try:
        printed = bash(f"{start} > console.log 2>&1\n{ask}", tmp_path, environment | short)
    finally:
        bash("torchserve --stop", tmp_path, environment)
    assert held_out()[0][1] in printed
