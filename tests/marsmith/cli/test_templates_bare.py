"""What `marsmith new` writes, without any extra, and with those alone that it names."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from marsmith.cli import new
from tests.support import bare
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

NEEDS_NONE = {"image_classification", "object_detection", "recommendation", "tabular", "tensors"}
OF_EXTRAS = ["captum", "faiss", "onnx", "onnxruntime", "openvino", "regex", "scipy", "sklearn"]
OF_EXTRAS += ["soundfile", "soxr", "tokenizers", "transformers"]
FIND = "import importlib.util, sys; print(*filter(importlib.util.find_spec, sys.argv[1:]))"
ASK = """
import base64, sys
from pathlib import Path
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
with Harness(Path(sys.argv[1])) as harness:
    example = harness.describe()["example"]
    body = base64.b64decode(example["body_base64"])
    (answer,) = harness.predict([Request.raw(body, example["content_type"])])
print(answer.status)
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs this checkout with the Python of an environment that has some extras alone."""

    @cache
    def python(extras: str) -> Path:
        folder = tmp_path_factory.mktemp("bare")
        return bare.environment(folder, filter(None, extras.split(",")))

    def run(folder: Path, *command: str, extras: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment["MARSMITH_STATE"] = str(folder / "state")
        return subprocess.run(
            [python(extras), *command], cwd=folder, env=environment,
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip

    return run


def marsmith(run: Run, folder: Path, *arguments: str, extras: str = "") -> str:
    """What the command prints that does what is asked."""
    done = run(folder, "-m", "marsmith.cli", *arguments, extras=extras)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_that_extras_bring_is_there(run: Run, tmp_path: Path) -> None:
    assert run(tmp_path, "-c", FIND, *OF_EXTRAS).stdout.split() == []
    assert run(tmp_path, "-c", FIND, *OF_EXTRAS, extras="text").stdout.split() == [
        "regex", "tokenizers",
    ]  # fmt: skip


@pytest.mark.parametrize("task", new.tasks())
def test_it_builds_and_answers_or_says_first_what_to_install(
    run: Run, tmp_path: Path, task: str
) -> None:
    said = marsmith(run, tmp_path, "new", "mine", "--task", task)
    install = re.search(r"next: (pip install 'marsmith\[(.+)\]')\n", said)
    assert not (install and task in NEEDS_NONE)
    if install:
        done = run(tmp_path, "-m", "marsmith.cli", "build", "mine/mine.yaml")
        assert done.returncode == 1
        error, hint = done.stderr.splitlines()
        assert re.fullmatch(rf"error: .+ not installed, which {task} needs", error)
        assert hint == f"hint: {install[1]}"
    extras = install[2] if install else ""
    marsmith(run, tmp_path, "build", "mine/mine.yaml", extras=extras)
    assert run(tmp_path, "-c", ASK, "model_store/mine.mar", extras=extras).stdout == "200\n"


def test_a_server_needs_no_extra(run: Run, tmp_path: Path) -> None:
    marsmith(run, tmp_path, "new", "mine", "--task", "tensors")
    marsmith(run, tmp_path, "build", "mine/mine.yaml")
    (tmp_path / "row.json").write_text('{"pressure": [1, 2, 3, 4, 5, 6, 7, 8]}')
    status = json.loads(marsmith(run, tmp_path, "serve", "mine", "--port", "0", "--json"))
    port = ["--port", status["inference_address"].rpartition(":")[2]]
    try:
        assert "flow" in marsmith(run, tmp_path, "predict", "mine", "row.json", *port)
    finally:
        marsmith(run, tmp_path, "stop", *port)
