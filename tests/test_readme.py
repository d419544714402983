"""The commands, recipes and requests of README and docs/, run as they stand; the quick ones."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
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
from pages import blocks
from tests.support.paths import ROOT
from tests.support.scripts import bash

WHOLE = [block.text for block in blocks.named("recipe")]
PARTS = [block.text for block in blocks.named("recipe part")]
TENSORS = [block.text for block in blocks.named("recipe part of tensors")]


def test_the_two_commands_are_there_and_sound() -> None:
    for script in re.findall(r"^scripts/\w+", (ROOT / "README.md").read_text("utf-8"), re.M):
        assert os.access(ROOT / script, os.X_OK), script
        subprocess.run(["bash", "-n", ROOT / script], check=True)


@pytest.mark.parametrize("recipe", WHOLE, ids=range(len(WHOLE)))
def test_the_recipes_are_ones(recipe: str, tmp_path: Path) -> None:
    said = yaml.safe_load(recipe)
    (tmp_path / f"{said['name']}.yaml").write_text(recipe)
    (tmp_path / "labels.json").write_text('["cat", "dog"]')
    assert reading.load(tmp_path / f"{said['name']}.yaml").task == said["task"]


@pytest.mark.parametrize("part", PARTS, ids=range(len(PARTS)))
def test_the_parts_of_recipes_are_allowed(part: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('["cat", "dog"]')
    (tmp_path / "my_model.yaml").write_text(
        yaml.safe_dump(yaml.safe_load(WHOLE[0]) | yaml.safe_load(part))
    )
    assert reading.load(tmp_path / "my_model.yaml").name == "my_model"


@pytest.mark.parametrize("part", TENSORS, ids=range(len(TENSORS)))
def test_the_parts_of_bare_tensors_are_allowed(part: str) -> None:
    assert reading.load({"name": "bare", "task": "tensors", **yaml.safe_load(part)})


def test_three_lines_are_enough_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "my_folder").mkdir()
    (tmp_path / "my_bert.yaml").write_text(blocks.one("a folder's recipe"))
    assert reading.load(tmp_path / "my_bert.yaml").source.files() == [tmp_path / "my_folder"]


def test_what_new_writes_is_there(tmp_path: Path) -> None:
    bash(blocks.one("new"), tmp_path)
    assert reading.load(tmp_path / "my_model" / "my_model.yaml").task == "image_classification"


def test_an_archive_packed_by_hand_answers(digits_archive: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "handlers", tmp_path / "handlers")
    with zipfile.ZipFile(digits_archive) as archive:
        archive.extract("model.pt", tmp_path)
    (tmp_path / "model-config.yaml").write_text(blocks.one("settings by hand"))
    (tmp_path / "model_store").mkdir()
    (tmp_path / "tmp").mkdir()
    bash(blocks.one("packed by hand"), tmp_path, {"TMPDIR": str(tmp_path / "tmp")})
    image, label = held_out()[0]
    with Harness(tmp_path / "model_store" / "digits.mar") as harness:
        (response,) = harness.predict([Request.raw(image)])
    assert next(iter(response.json())) == label


def test_the_settings_by_hand_are_known() -> None:
    config = yaml.safe_load(blocks.one("settings by hand"))
    tasks.find("image_classification").settings(config["handler"])


def variables(server: ServerInfo) -> dict[str, str]:
    """What the pages call the address and the key of a server."""
    key = json.loads(server.key_file.read_text())["inference"]["key"]
    return {"KEY": key, "ADDRESS": server.inference_address}


def test_the_requests_are_answered(digits_server: ServerInfo, tmp_path: Path) -> None:
    image, label = held_out()[0]
    (tmp_path / "digit.png").write_bytes(image)
    script = blocks.one("requests").replace("iVBORw0K...", base64.b64encode(image).decode())
    for command in re.split(r"^curl ", script, flags=re.MULTILINE)[1:]:
        curl = f"curl --fail-with-body -s --max-time 300 {command}"
        answer = json.loads(bash(curl, tmp_path, variables(digits_server)))
        assert label in json.dumps(answer)
        assert "error" not in answer


def test_an_explanation_is_a_picture(digits_server: ServerInfo, tmp_path: Path) -> None:
    (tmp_path / "digit.png").write_bytes(held_out()[0][0])
    command = blocks.one("an explanation").replace("curl ", "curl -f --max-time 300 ")
    bash(command, tmp_path, variables(digits_server))
    with Image.open(tmp_path / "heat-map.png") as picture:
        assert picture.size == (8, 8)
