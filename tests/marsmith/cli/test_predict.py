from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from examples.digits import held_out
from marsmith.cli.inputs import bodies
from marsmith.errors import MarsmithError
from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo
from tests.support.command import marsmith
from tests.support.paths import ROOT

IMAGE, DIGIT = held_out()[0]


def test_standard_input_is_sent_as_it_is(digits_server: ServerInfo) -> None:
    command = [sys.executable, "-m", "marsmith.cli", "predict", "digits", "-"]
    command += ["--port", str(digits_server.port)]
    done = subprocess.run(command, cwd=ROOT, input=IMAGE, capture_output=True, check=True)
    assert next(iter(json.loads(done.stdout))) == DIGIT


@pytest.mark.slow
def test_what_is_written_or_spoken_comes_piece_by_piece(
    make_new_archive: Callable[[str], Path], server_state: Path
) -> None:
    tasks = ("speech_synthesis", "text_generation")
    info = server.serve([make_new_archive(task) for task in tasks], port=0)

    def streamed(task: str, text: str) -> bytes:
        command = [sys.executable, "-m", "marsmith.cli", "predict", f"new_{task}", "--stream"]
        command += ["--text", text, "--port", str(info.port)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout

    try:
        both, one = (streamed(tasks[0], text) for text in ("One. Two.", "One."))
        written = streamed(tasks[1], "One.")
    finally:
        server.stop(info)
    assert both.startswith(b"RIFF")
    assert len(both) > len(one) > 44  # the header's
    assert written.decode().endswith("\n")


def test_a_model_that_is_not_served_is_said_with_the_nearest(digits_server: ServerInfo) -> None:
    port = digits_server.port
    done = marsmith("predict", "digit", "--text", "x", "--port", port, check=False)
    said = done.stderr.replace("\n", " ")
    assert done.returncode == 1
    assert (
        f"no model 'digit' on port {port}; did you mean 'digits'? there are: digits, wide" in said
    )
    done = marsmith("scale", "digit", "--min-workers", 1, "--port", port, check=False)
    assert "did you mean 'digits'?" in done.stderr


def test_a_text_and_files_are_sent_in_turn(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    first, second = bodies([tmp_path / "a.json"], ["grüß"])
    assert (first.data, first.media_type) == (b"{}", "application/json")
    assert (second.name, second.data.decode(), second.media_type) == (
        "--text",
        "grüß",
        "text/plain",
    )
    assert {each.media_type for each in bodies([], ["a", "b"], "a/b")} == {"a/b"}


@pytest.mark.parametrize(
    ("data", "media_type"),
    [(b'{"a": 1}', "application/json"), (b"[1]", "application/json"), (b"12", ""), (b"\xff", ""),
     (b"[" * 100_000, "")],
)  # fmt: skip
def test_the_type_of_standard_input_is_json_only_if_it_is(data: bytes, media_type: str) -> None:
    code = "from pathlib import Path\nfrom marsmith.cli.inputs import bodies\n"
    code += "print(*(each.media_type for each in bodies([Path('-')], [])))"
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert done.stdout.decode().strip() == media_type


def test_nothing_to_send_is_said() -> None:
    with pytest.raises(MarsmithError, match="nothing to send"):
        bodies([], [])
    with pytest.raises(MarsmithError, match="only once"):
        bodies([Path("-"), Path("-")], [])


def test_run_answers_in_json_too(digits_archive: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(IMAGE)
    done = marsmith(
        "run", digits_archive, tmp_path / "a.png", "--text", "no", "--json", check=False
    )
    good, bad = (json.loads(line) for line in done.stdout.splitlines())
    assert next(iter(good["answer"])) == DIGIT
    assert (good["input"], good["status"]) == (str(tmp_path / "a.png"), 200)
    assert bad["status"] >= 400
    assert "error" in bad["answer"]
