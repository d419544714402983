"""Programs that two generators make of the OpenAPI document, before a real server.

What they need is installed into folders of their own, which pytest's cache keeps.
"""

from __future__ import annotations

import base64
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from marsmith.archive.openapi import document
from marsmith.client.clients import Client
from marsmith.serving import server
from tests.support.images import encode, noise
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

HERE = ROOT / "tests" / "marsmith" / "archive" / "generated"
PICTURE = encode(noise(32, 32, "RGB"))
GENERATOR, CHECKER = "openapi-python-client==0.29.1", "mypy==2.4.1"
# What a program of each language is asked to do, with models of these tasks.
TASKS = ("image_classification", "object_detection", "question_answering", "tabular")
WRITES = "text_generation"
INSTALL_S, RUN_S = 600, 180


def run(command: Sequence[object], folder: Path, limit_s: float = RUN_S) -> str:
    """Run a program to its end; what it printed."""
    done = subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=limit_s,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def archives(make_new_archive: Callable[[str], Path]) -> list[Path]:
    return [make_new_archive(task) for task in (*TASKS, WRITES)]


@pytest.fixture(scope="module")
def served(archives: list[Path], server_state: Path) -> Iterator[server.Server]:
    with server.serve(archives, port=0, timeout_s=900.0) as found:
        yield found


@pytest.fixture(scope="module")
def described(
    archives: list[Path], served: server.Server, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The document, in a folder with a picture as a file and as base64."""
    folder = tmp_path_factory.mktemp("described")
    (folder / "picture.png").write_bytes(PICTURE)
    (folder / "picture.b64").write_text(base64.b64encode(PICTURE).decode())
    written = document(archives, served.inference_address)
    (folder / "openapi.json").write_text(json.dumps(written))
    return folder


@pytest.fixture(scope="module")
def expected(served: server.Server) -> dict[str, Any]:
    """What our own client is answered."""
    with served.client(timeout_s=RUN_S) as client:
        return answers(client)


def answers(client: Client) -> dict[str, Any]:
    model = "new_image_classification"
    question = {"question": "Who?", "context": "It was Ada."}
    prompt = {"data": "import this", "parameters": {"max_new_tokens": 8, "temperature": 0}}
    whole = client.predict(model, PICTURE, content_type="image/png")
    best = dict(list(whole.items())[:2])
    return {
        "json": best,
        "bytes": whole,
        "form": best,
        "v1": [whole, whole],
        "v2": {"labels": [*whole], "scores": [*whole.values()]},
        "explanation": client.explain(model, PICTURE, content_type="image/png"),
        "boxes": client.predict("new_object_detection", PICTURE, content_type="image/png"),
        "answer": client.predict("new_question_answering", question),
        "row": client.predict("new_tabular", {"age": 40, "town": None}),
        "text": client.predict("new_text_generation", prompt)["text"],
    }


def check(said: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert said["error"]["error"].startswith("'top_k' in the options must be at least 1")
    assert said["stranger"] == {"status": 401, "error": "this needs a key"}
    for name in said.keys() - {"error", "stranger"}:
        assert is_near(said[name], expected[name]), (name, said[name], expected[name])


def is_near(one: Any, other: Any) -> bool:
    """Whether two answers are the same, but for the rounding of another batch."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_near(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_near, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-4)
    return type(one) is type(other) and bool(one == other)


def test_a_client_in_python(
    described: Path, served: server.Server, expected: Mapping[str, Any], pytestconfig: pytest.Config
) -> None:
    home = pytestconfig.cache.mkdir("generated_python")
    python = home / "bin" / "python"
    if not python.exists():
        run([sys.executable, "-m", "venv", home], ROOT, INSTALL_S)
        run([python, "-m", "pip", "install", "-q", GENERATOR, CHECKER], ROOT, INSTALL_S)
    shutil.copy(HERE / "ask.py", described)
    generate = [home / "bin" / "openapi-python-client", "generate", "--path", "openapi.json"]
    told = run([*generate, "--meta", "none", "--output-path", "served", "--overwrite"], described)
    # It has no types for texts as they are; these go in as JSON and in forms.
    missing = [line for line in told.splitlines() if "Unsupported content type" in line]
    assert set(missing) <= {"Unsupported content type text/plain"}
    assert "will not be generated" not in told
    run([python, "-m", "mypy", "--strict", "ask.py"], described)
    key = served.key.read_text().strip()
    command = [python, "ask.py", served.inference_address, key, described / "picture.png"]
    check(json.loads(run(command, described)), expected)


def test_a_client_in_typescript(
    described: Path, served: server.Server, expected: Mapping[str, Any], pytestconfig: pytest.Config
) -> None:
    if not shutil.which("npm"):
        pytest.skip("there is no npm: apt-get install npm")
    home = pytestconfig.cache.mkdir("generated_typescript")
    for file in HERE.iterdir():
        if file.is_file():
            shutil.copy(file, home)
    run(["npm", "install", "--no-audit", "--no-fund"], home, INSTALL_S)
    run(["node", "generate.mjs", described / "openapi.json", "served.ts"], home)
    run(["npx", "tsc", "-p", "."], home)
    key = served.key.read_text().strip()
    command = ["node", "out/ask.js", served.inference_address, key, described / "picture.png"]
    check(json.loads(run(command, home)), expected)
